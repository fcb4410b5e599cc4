import type { FailedPrediction, Prediction } from "../prediction.js";
import { csvLine } from "./csv.js";

/** A prediction, or why there is none. */
export type Record = Prediction | FailedPrediction;

/** Turns records into text, in pieces that can be written as they come. */
export interface RecordWriter {
  begin(): string;
  record(record: Record): string;
  end(): string;
}

export type OutputFormat = "table" | "json" | "jsonl" | "csv";

export function recordWriter(format: OutputFormat): RecordWriter {
  if (format === "table") return tableWriter();
  if (format === "csv") return csvWriter();
  if (format === "jsonl") return { begin: () => "", record: (r) => `${JSON.stringify(r)}\n`, end: () => "" };
  let separator = "\n";
  return {
    begin: () => "[",
    record: (r) => {
      const text = `${separator}${JSON.stringify(r, undefined, 2).replace(/^/gm, "  ")}`;
      separator = ",\n";
      return text;
    },
    end: () => "\n]\n",
  };
}

const CSV_COLUMNS: readonly [name: string, cell: (r: Record) => string | number | undefined][] = [
  ["id", (r) => r.id],
  ["model", (r) => ("error" in r ? undefined : r.model.name)],
  ["formula", (r) => ("error" in r ? undefined : r.formula)],
  ["sites", (r) => ("error" in r ? undefined : r.sites)],
  ["property", (r) => ("error" in r ? undefined : r.property)],
  ["unit", (r) => ("error" in r ? undefined : r.unit)],
  ["value", (r) => ("error" in r ? undefined : r.value)],
  ["tie_min", (r) => ("error" in r ? undefined : r.tie?.min)],
  ["tie_max", (r) => ("error" in r ? undefined : r.tie?.max)],
  ["warnings", (r) => ("error" in r ? undefined : r.warnings.map((warning) => warning.code).join(";"))],
  ["error", (r) => ("error" in r ? `${r.error.code}: ${r.error.message}` : undefined)],
];

function csvWriter(): RecordWriter {
  return {
    begin: () => csvLine(CSV_COLUMNS.map(([name]) => name)),
    record: (r) => csvLine(CSV_COLUMNS.map(([, cell]) => cell(r))),
    end: () => "",
  };
}

/** Aligned columns for people; waits for the last record, since a later one may be wider. */
function tableWriter(): RecordWriter {
  const records: Record[] = [];
  return {
    begin: () => "",
    record: (r) => {
      records.push(r);
      return "";
    },
    end: () => (records.length ? formatTable(records) : ""),
  };
}

function formatTable(records: readonly Record[]): string {
  const tied = records.some((r) => !("error" in r) && r.tie);
  const header = ["structure", "formula", "atoms", "value", ""];
  if (tied) header.push("tie range");
  const rows = records.map((r) => {
    const start = [r.id ?? ""];
    if ("error" in r) return [...start, "-", "-", "failed", r.error.code];
    const marks = r.warnings.length ? " *" : "";
    const range = r.tie ? `${fixed(r.tie.min)} .. ${fixed(r.tie.max)}` : "";
    return [...start, r.formula, String(r.sites), fixed(r.value), (r.unit ?? "") + marks, ...(tied ? [range] : [])];
  });
  const widths = header.map((title, i) => Math.max(title.length, ...rows.map((row) => (row[i] ?? "").length)));
  const right = new Set(["atoms", "value"]);
  const line = (cells: readonly string[]) =>
    `${header
      .map((title, i) => (right.has(title) ? (cells[i] ?? "").padStart(widths[i]) : (cells[i] ?? "").padEnd(widths[i])))
      .join("  ")
      .trimEnd()}\n`;
  return line(header) + rows.map(line).join("");
}

function fixed(value: number): string {
  return value.toFixed(4);
}
