/** What the user is told of the models before the results: which they are, what they predict, what was assumed. */
import type { Checkpoint } from "../checkpoint.js";
import type { Ensemble } from "../ensemble.js";
import { describeLoadReport, type LoadReport } from "../load-report.js";
import type { Model } from "../models/model.js";
import type { Metadata } from "./run-metadata.js";
import { counted, labelled, oneLine } from "./shown.js";

/** Lines on one model; `path` as the user knows it. */
export function describeModel(
  path: string,
  { epoch, file }: Checkpoint,
  model: Model,
  { test_mae, test_r2 }: Metadata,
): string[] {
  const { architecture, config, unit, found, assumed, loadReport } = model;
  const inside = file === undefined || path.endsWith(file) ? "" : ` (${file})`;
  const at = epoch === undefined ? "" : `, epoch ${epoch}`;
  const facts = [
    `${path}${inside}: ${architecture} ${config.task}, ${counted(countWeights(model))} weights${at}`,
    // Of a run: what was measured is its best checkpoint.
    ...(test_mae !== undefined && !/_(final|epoch\d+)\.\w+$/.test(path)
      ? [`test error: MAE ${test_mae}${unit ? ` ${unit}` : ""}${test_r2 === undefined ? "" : `, R2 ${test_r2}`}`]
      : []),
    found.length ? `found: ${found.join(", ")}` : "no settings found",
    ...assumed.map((assumption) => `assumed: ${assumption}`),
    ...describeTensors(loadReport).map((change) => `tensors: ${change}`),
  ];
  return facts.flatMap((fact, i) => labelled(i === 0 ? "model" : "", oneLine(fact)));
}

/** What became of the tensors; that all lost one prefix, as ever with some programs, is said in a word. */
function describeTensors(report: LoadReport): string[] {
  const prefixes = report.remapped.map(({ from, to }) => (from.endsWith(to) ? from.slice(0, -to.length) : undefined));
  const [prefix] = prefixes;
  if (prefix === undefined || prefixes.some((one) => one !== prefix)) return describeLoadReport(report);
  return [`"${prefix}" taken off ${prefixes.length} names`, ...describeLoadReport({ ...report, remapped: [] })];
}

/** What they predict together, and what their makers say of it. */
export function describeTogether(model: Model | Ensemble, metadata: readonly Metadata[], isExample: boolean): string[] {
  const { property = "a property that the checkpoint does not name", unit } = model;
  const lines = labelled("predicts", oneLine(`${property}${unit ? `, ${unit}` : ""}`));
  if ("members" in model) lines.push(...labelled("ensemble", describeEnsemble(model)));
  const examples = "members" in model ? "the examples that ship" : "the example that ships";
  if (isExample) lines.push(...labelled("example", `${examples} with unitcell, to try it; --model names yours`));
  for (const limits of new Set(metadata.map((one) => one.limits)))
    if (limits !== undefined) lines.push(...labelled("limits", oneLine(limits)));
  return lines;
}

function describeEnsemble({ members, calibration }: Ensemble): string {
  const spread = calibration === undefined ? "their spread, not calibrated" : `their spread times ${calibration}`;
  const twice = members.filter(({ sha256 }, i) => members.findIndex((other) => other.sha256 === sha256) < i);
  const same = twice.length && twice[0].sha256 ? `; ${twice.map(({ name }) => name).join(", ")} given twice` : "";
  return `${members.length} models: the value is their mean, ± ${spread}${same}`;
}

/** Trained numbers: weights and biases, without running statistics and the element table. */
function countWeights({ program }: Model): number {
  let count = 0;
  for (const [name, { data }] of program.params) if (/\.(weight|bias)(_[ih]h_l\d+)?$/.test(name)) count += data.length;
  return count;
}
