import type { Ensemble } from "../ensemble.js";
import type { Model } from "../models/model.js";
import type { FailedPrediction, Prediction } from "../prediction.js";
import { csvLine } from "./csv.js";
import { formatTable } from "./records-table.js";

/** A prediction, or why there is none. */
export type Record = Prediction | FailedPrediction;

/** Turns records into text, in pieces that can be written as they come. */
export interface RecordWriter {
  begin(): string;
  record(record: Record): string;
  end(): string;
}

export type OutputFormat = "table" | "json" | "jsonl" | "csv";

/** @param model that the records will be of: an ensemble's members have columns of their own */
export function recordWriter(format: OutputFormat, model: Model | Ensemble): RecordWriter {
  const members = "members" in model ? memberNames(model) : [];
  if (format === "table") return tableWriter(members);
  if (format === "csv") return csvWriter(members);
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

/** Endings of checkpoints: what is left is a name. */
const ENDINGS = /(\.(pth|pt|tar|ckpt|bin|safetensors|zip))+$/i;

/**
 * Names of an ensemble's members for columns: of their files without ending, letters and digits joined by "_", no two
 * alike.
 */
function memberNames({ members }: Ensemble): string[] {
  const seen = new Map<string, number>();
  return members.map(({ name, architecture }) => {
    const bare = (name ?? architecture).replace(ENDINGS, "").replace(/[^\p{L}\p{N}]+/gu, "_") || architecture;
    const times = (seen.get(bare) ?? 0) + 1;
    seen.set(bare, times);
    return times === 1 ? bare : `${bare}_${times}`;
  });
}

type Cell = string | number | boolean | undefined;
type Columns = readonly (readonly [name: string, cell: (p: Prediction) => Cell])[];

const CSV_START: Columns = [
  ["model", (p) => p.model.name],
  ["formula", (p) => p.formula],
  ["sites", (p) => p.sites],
  ["property", (p) => p.property],
  ["unit", (p) => p.unit],
  ["value", (p) => p.value],
  ["std", (p) => p.std],
  ["calibrated", (p) => p.calibrated],
];

const CSV_END: Columns = [
  ["values", (p) => p.values?.join(";")],
  ["probabilities", (p) => p.probabilities?.join(";")],
  ["state", (p) => ofAny(p, "state")],
  ["neighbor_policy", (p) => ofAny(p, "neighborPolicy")],
  ["tie_min", (p) => p.tie?.min],
  ["tie_max", (p) => p.tie?.max],
  ["warnings", (p) => [...new Set(p.warnings.map((warning) => warning.code))].join(";")],
];

/** Of the record, or of the members of an ensemble that have it: it is the same for all of these. */
function ofAny(p: Prediction, field: "state" | "neighborPolicy"): Cell {
  return p[field] ?? p.members?.find((member) => member[field] !== undefined)?.[field];
}

function csvWriter(members: readonly string[]): RecordWriter {
  const ofMembers = members.map((name, i) => [`value_${name}`, (p: Prediction) => p.members?.[i].value] as const);
  const columns: Columns = [...CSV_START, ...ofMembers, ...CSV_END];
  return {
    begin: () => csvLine(["id", ...columns.map(([name]) => name), "error", "elapsed_ms"]),
    record: (r) =>
      "error" in r
        ? csvLine([r.id, ...columns.map(() => undefined), `${r.error.code}: ${r.error.message}`, undefined])
        : csvLine([r.id, ...columns.map(([, cell]) => cell(r)), undefined, r.elapsedMs]),
    end: () => "",
  };
}

/** Aligned columns for people; waits for the last record, since a later one may be wider. */
function tableWriter(members: readonly string[]): RecordWriter {
  const records: Record[] = [];
  return {
    begin: () => "",
    record: (r) => {
      records.push(r);
      return "";
    },
    end: () => (records.length ? formatTable(records, members) : ""),
  };
}
