/** What slim did, as lines. */
import type { ChangeReport } from "../prediction-change.js";
import type { CastReport, SlimReport } from "../slim.js";
import type { SparsityReport } from "../sparsify.js";
import { TORCH_DTYPES } from "../tensor.js";
import { brief, type Column, counted, escaped, labelled, oneLine, plural, shownName, table } from "./shown.js";
import { sizes } from "./tree.js";

/** The JSON document. */
export interface SlimDocument extends SlimReport {
  readonly input: string;
  readonly output: string;
  readonly written: boolean;
  readonly bytes: {
    /** Of all files of IN. */
    readonly before: number;
    readonly after: number;
    /** What OUT takes when it is compressed, as a zip or a web server does. */
    readonly afterDeflated: number;
  };
  readonly change?: ChangeReport;
}

/** Rows of a table; the JSON has them all. */
const MOST_ROWS = 100;
/** Names in a line. */
const MOST_NAMES = 8;

export function describeSlim(document: SlimDocument): string[] {
  const { input, output, written, bytes, tensorBytes, stripped, leftOut, cast, sparsity, change } = document;
  const share = (100 * bytes.after) / bytes.before;
  return [
    ...labelled("stripped", names(stripped) || "nothing"),
    ...(leftOut.length > 0 ? labelled("left out", `${names(leftOut)}: no plain values`) : []),
    ...(cast ? castLines(cast) : []),
    ...(sparsity ? sparsityLines(sparsity) : []),
    ...(change ? changeLines(change) : []),
    ...labelled("tensors", `${counted(tensorBytes.before)} bytes before, ${counted(tensorBytes.after)} after`),
    ...labelled(
      "file",
      `${counted(bytes.before)} bytes before, ${counted(bytes.after)} after (${share.toFixed(1)} %), ` +
        `${counted(bytes.afterDeflated)} when deflated` +
        (sparsity && sparsity.zerosAfter > 0 ? "; zeros are stored as numbers, only deflating gains from them" : ""),
    ),
    ...(written ? [oneLine(`${input} -> ${output}`)] : []),
  ];
}

function names(all: readonly string[]): string {
  const rest = all.length > MOST_NAMES ? ` and ${all.length - MOST_NAMES} more` : "";
  return all.slice(0, MOST_NAMES).map(shownName).join(", ") + rest;
}

function castLines({ dtype, cast, kept, underflows }: CastReport): string[] {
  const zeros = underflows > 0 ? `; ${plural(underflows, "number")} became zero` : "";
  return [...labelled("rounded", `${plural(cast, "tensor")} to ${TORCH_DTYPES[dtype]}${zeros}`), ...keptLines(kept)];
}

/** Tensors that stayed, by reason. */
function keptLines(kept: readonly { readonly name: string; readonly reason: string }[]): string[] {
  const byReason = new Map<string, string[]>();
  for (const { name, reason } of kept) byReason.set(reason, [...(byReason.get(reason) ?? []), name]);
  return [...byReason].flatMap(([reason, of]) =>
    labelled("", `${plural(of.length, "tensor")} stayed (${escaped(reason)}): ${names(of)}`),
  );
}

const SPARSITY_COLUMNS: readonly Column[] = [
  { title: "tensor" },
  { title: "shape" },
  { title: "zeros before", right: true },
  { title: "after", right: true },
  { title: "share", right: true },
  { title: "threshold", right: true },
];

function sparsityLines({ scope, elements, zerosBefore, zerosAfter, tensors, left }: SparsityReport): string[] {
  const rows = tensors
    .slice(0, MOST_ROWS)
    .map((row) => [
      shownName(row.name),
      sizes(row.shape),
      counted(row.zerosBefore),
      counted(row.zerosAfter),
      percent(row.zerosAfter, row.elements),
      brief(row.threshold),
    ]);
  const how = scope === "global" ? "of all together" : "of each matrix";
  return [
    ...labelled(
      "sparsity",
      `${counted(zerosAfter)} of ${counted(elements)} weights are zero (${percent(zerosAfter, elements)}, ` +
        `${counted(zerosBefore)} were before): the smallest ${how}`,
    ),
    ...keptLines(left),
    ...table(SPARSITY_COLUMNS, rows),
    ...more(tensors.length),
  ];
}

function percent(part: number, whole: number): string {
  return whole === 0 ? "-" : `${((100 * part) / whole).toFixed(1)} %`;
}

const CHANGE_COLUMNS: readonly Column[] = [
  { title: "structure" },
  { title: "formula" },
  { title: "before", right: true },
  { title: "after", right: true },
  { title: "difference", right: true },
  { title: "" },
];

function changeLines({ structures, property, unit, compared, largest, mean, tolerance }: ChangeReport): string[] {
  const rows = structures.slice(0, MOST_ROWS).map((row) => {
    const id = shownName(row.id ?? "");
    if ("error" in row) return [id, "", "-", "-", "-", oneLine(`${row.error.code}: ${row.error.message}`)];
    return [id, row.formula, row.before.toFixed(6), row.after.toFixed(6), brief(row.difference), ""];
  });
  const what = [property ?? "predictions", ...(unit ? [unit] : [])].map(oneLine).join(", ");
  const limit = tolerance === undefined ? "" : `; tolerance ${brief(tolerance)}`;
  return [
    ...labelled(
      "change",
      `${what}: ${brief(largest)} at most, ${brief(mean)} in the mean of ${plural(compared, "structure")}${limit}`,
    ),
    ...table(CHANGE_COLUMNS, rows),
    ...more(structures.length),
  ];
}

function more(count: number): string[] {
  return count > MOST_ROWS ? [`  ... and ${counted(count - MOST_ROWS)} more (--json has all)`] : [];
}
