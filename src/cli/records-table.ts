import type { Prediction, TieRange } from "../prediction.js";
import type { Record } from "./records.js";
import { oneLine } from "./shown.js";

/** Characters of a member's name; of a longer one its beginning and end. */
const MOST_CHARACTERS = 24;

/** An ensemble of more has no columns for its members: they would not fit a terminal. */
const MOST_MEMBERS = 4;

interface Column {
  readonly title: string;
  readonly right?: boolean;
  readonly cell: (p: Prediction) => string;
}

/** Records in aligned columns, and notes on what the columns mean. */
export function formatTable(records: readonly Record[], members: readonly string[]): string {
  const predictions = records.flatMap((r) => ("error" in r ? [] : [r]));
  const columns = columnsFor(predictions, members);
  const rows = records.map((r) => {
    const id = oneLine(r.id ?? "");
    // In place of a value, and of its unit.
    return "error" in r ? [id, "-", "-", "failed", r.error.code] : [id, ...columns.map(({ cell }) => cell(r))];
  });
  const all: readonly Omit<Column, "cell">[] = [{ title: "structure" }, ...columns];
  const widths = all.map(({ title }, i) =>
    rows.reduce((most, row) => Math.max(most, (row[i] ?? "").length), title.length),
  );
  const pad = (text: string, i: number) => (all[i].right ? text.padStart(widths[i]) : text.padEnd(widths[i]));
  const line = (cells: readonly string[]) =>
    `${all
      .map((_, i) => pad(cells[i] ?? "", i))
      .join("  ")
      .trimEnd()}\n`;
  const notes = notesOn(predictions);
  return [line(all.map(({ title }) => title)), ...rows.map(line), ...(notes.length ? ["\n", ...notes] : [])].join("");
}

function columnsFor(predictions: readonly Prediction[], members: readonly string[]): Column[] {
  const columns: Column[] = [
    { title: "formula", cell: (p) => p.formula },
    { title: "atoms", right: true, cell: (p) => String(p.sites) },
    { title: "value", right: true, cell: (p) => fixed(p.value) },
  ];
  const unit = {
    title: "",
    cell: (p: Prediction) => `${oneLine(p.unit ?? "")}${p.warnings.length ? " *" : ""}`.trim(),
  };
  if (members.length === 0) columns.push(unit);
  else {
    columns.push({ title: "± std", right: true, cell: (p) => fixed(p.std ?? 0) }, unit);
    if (members.length <= MOST_MEMBERS)
      for (const [i, title] of shorten(members).entries())
        columns.push({ title, right: true, cell: (p) => fixed(p.members![i].value) });
  }
  if (predictions.some((p) => tiesOf(p).length)) columns.push({ title: "tie range", cell: tieCell(shorten(members)) });
  return columns;
}

const tiesOf = ({ tie, members = [] }: Prediction) => [tie, ...members.map((member) => member.tie)].filter(Boolean);

/** Of one model its range, of an ensemble that of each member that has one. */
function tieCell(members: readonly string[]): (p: Prediction) => string {
  const range = ({ min, max }: TieRange) => `${fixed(min)} .. ${fixed(max)}`;
  return (p) => {
    const ofMembers = (p.members ?? []).flatMap(({ tie }, i) => (tie ? [`${members[i]} ${range(tie)}`] : []));
    return [...(p.tie ? [range(p.tie)] : []), ...ofMembers].join(", ");
  };
}

/** Names without the words that all of them begin or end with ("best" and "final" of two checkpoints of one run), cut. */
function shorten(names: readonly string[]): string[] {
  if (names.length === 0) return [];
  const words = names.map((name) => name.split("_"));
  const shortest = Math.min(...words.map(({ length }) => length));
  let [start, end] = [0, 0];
  const allHave = (at: (of: string[]) => string | undefined) => words.every((of) => at(of) === at(words[0]));
  while (start < shortest - 1 && allHave((of) => of[start])) start++;
  while (end < shortest - 1 - start && allHave((of) => of.at(-1 - end))) end++;
  return words.map((of) => cut(of.slice(start, of.length - end).join("_")));
}

function cut(name: string): string {
  const half = MOST_CHARACTERS / 2 - 1;
  return name.length > MOST_CHARACTERS ? `${name.slice(0, half)}..${name.slice(-half)}` : name;
}

function notesOn(predictions: readonly Prediction[]): string[] {
  const notes: string[] = [];
  const ensemble = predictions.find(({ std }) => std !== undefined);
  if (ensemble)
    notes.push(
      ensemble.calibrated
        ? "± std: standard deviation of the models' values, times the calibration factor\n"
        : "± std: standard deviation of the models' values; a spread, not calibrated, no error bar\n",
    );
  if (predictions.some(({ warnings }) => warnings.length)) notes.push("* has warnings\n");
  return notes;
}

function fixed(value: number): string {
  return value.toFixed(4);
}
