/** The checkpoints that are open: what they hold, and the models of them. */

import { summarizeArchitecture } from "../../architecture-summary.js";
import type { Input } from "../../bytes.js";
import { type Bundle, openBundle } from "../../checkpoint/bundle.js";
import { type Metadata, metadataName, metadataOptions, parseMetadata } from "../../cli/run-metadata.js";
import { sized } from "../../cli/shown.js";
import { sizes } from "../../cli/tree.js";
import { UnitcellError } from "../../errors.js";
import { loadModel } from "../../load-model.js";
import { shareRuleOf } from "../../models/atom-shares.js";
import type { Model } from "../../models/model.js";
import { sha256 } from "../../sha256.js";
import { type CheckpointSummary, type NamedTensor, nameTensors, readBeside, summarize } from "../../summary.js";
import { TORCH_DTYPES } from "../../tensor.js";
import type {
  CheckpointCard,
  CheckpointDetails,
  Facts,
  GivenFile,
  Histogram,
  Problem,
  TensorRow,
  TreeLevel,
} from "../messages.js";
import { histogramOf } from "./histogram.js";
import { problemOf } from "./problem.js";
import { type TreeLevelOptions, treeLevel } from "./tree-level.js";

/** A checkpoint with all that was opened for it. */
export interface OpenCheckpoint {
  readonly id: number;
  readonly name: string;
  /** The state dict's first. */
  readonly files: readonly GivenFile[];
  /** What describes its run: histories and metadata that were given with it. */
  readonly beside: readonly GivenFile[];
  /** SHA-256 of all its files; undefined where there is no model. */
  readonly hash: string | undefined;
  /** The same files under whatever name, opened before it. */
  readonly twin: OpenCheckpoint | undefined;
  readonly bundle: Bundle;
  readonly summary: CheckpointSummary;
  /** What the run's metadata beside it say. */
  readonly metadata: Metadata;
  readonly model: Model | undefined;
  readonly problem: Problem | undefined;
  /** Why its predictions are not split among atoms. */
  readonly noShares: string | undefined;
  used: boolean;
}

export class Checkpoints {
  readonly all: OpenCheckpoint[] = [];
  private next = 1;

  /** @throws {UnitcellError} when the file is no checkpoint at all; one of which no model is made is open, and says why */
  async open(
    { name, used }: { readonly name: string; readonly used: boolean },
    { files, beside }: Pick<OpenCheckpoint, "files" | "beside">,
  ): Promise<OpenCheckpoint> {
    const metadata = beside.find(({ file }) => file.name === metadataName(files[0].file.name));
    const input = inputOf(files);
    // Inert: a file that names code can be looked at, since nothing it names is ever run.
    const bundle = await openBundle(input, { unknownClasses: "inert" });
    const summary = summarize(bundle.torch, await readBeside(bundle));
    let model: Model | undefined;
    let problem: Problem | undefined;
    let said: Metadata = {};
    try {
      if (metadata) said = parseMetadata(await metadata.file.text(), metadata.path);
      model = await loadModel(input, { name, ...metadataOptions(said) });
    } catch (error) {
      problem = problemOf(error);
    }
    const noShares = model && (await reasonAgainstShares(model));
    const hash = model && (await hashOf(model, files));
    // Without a wait from here on: of two that are opened at once, one must see the other.
    const twin = this.all.find((other) => hash !== undefined && other.hash === hash);
    const opened = {
      id: this.next++,
      name,
      files,
      beside,
      hash,
      twin,
      bundle,
      summary,
      metadata: said,
      model,
      problem,
      noShares,
      // Twice the same model is no ensemble: its spread would be zero.
      used: used && model !== undefined && twin === undefined,
    };
    this.all.push(opened);
    return opened;
  }

  close(id: number): void {
    this.all.splice(this.all.indexOf(this.get(id)), 1);
  }

  get(id: number): OpenCheckpoint {
    const found = this.all.find((checkpoint) => checkpoint.id === id);
    if (!found) throw new UnitcellError("NOT_FOUND", `there is no open checkpoint ${id}`);
    return found;
  }

  get cards(): CheckpointCard[] {
    return this.all.map((checkpoint) => this.card(checkpoint));
  }

  private card(checkpoint: OpenCheckpoint): CheckpointCard {
    const { twin } = checkpoint;
    const isTwinOpen = twin !== undefined && this.all.includes(twin);
    return cardOf(checkpoint, isTwinOpen ? `the same contents as ${twin.name}, which was opened before it` : undefined);
  }

  /** Those that predictions are made with. */
  get models(): Model[] {
    return this.all.flatMap(({ used, model }) => (used && model ? [model] : []));
  }

  describe(id: number): CheckpointDetails {
    const checkpoint = this.get(id);
    const { summary, bundle, model, problem } = checkpoint;
    const architecture = summarizeArchitecture(summary);
    const found = model?.found ?? architecture?.found ?? [];
    const assumed = model?.assumed ?? architecture?.assumed ?? [];
    return {
      card: this.card(checkpoint),
      facts: factsOf(checkpoint),
      found,
      assumed,
      warnings: [
        ...(problem ? [`${problem.code}: ${problem.message}`] : []),
        ...(summary.problem ? [summary.problem] : []),
        ...(architecture?.problem && !problem ? [architecture.problem] : []),
        ...(summary.unsafeGlobals.length > 0
          ? [`names code, none of which was run: ${summary.unsafeGlobals.slice(0, 10).join(", ")}`]
          : []),
        ...(model?.normalizes && !model.normalizer
          ? ["no normalizer: values are the network's raw output, in units of its training targets"]
          : []),
      ],
      tensors: tensorRows(summary, nameTensors(bundle.torch.root)),
    };
  }

  tree(id: number, path: readonly number[], options: TreeLevelOptions): TreeLevel {
    return treeLevel(this.get(id).bundle.torch.root, path, options);
  }

  async histogram(id: number, index: number): Promise<Histogram> {
    const { torch } = this.get(id).bundle;
    const named = nameTensors(torch.root)[index];
    if (!named) throw new UnitcellError("NOT_FOUND", `there is no tensor ${index}`);
    return histogramOf(torch, named.tensor);
  }
}

function inputOf(files: readonly GivenFile[]): Input | ReadonlyMap<string, Input> {
  if (files.length === 1) return files[0].file;
  return new Map(files.map(({ file }) => [file.name, file]));
}

/** As `loadModel` has it of the file with the weights, and of those beside it in any order. */
async function hashOf({ sha256: first }: Model, [, ...others]: readonly GivenFile[]): Promise<string | undefined> {
  if (first === undefined) return undefined;
  const hashes = await Promise.all(others.map(async ({ file }) => sha256(new Uint8Array(await file.arrayBuffer()))));
  return [first, ...hashes.sort()].join(" ");
}

function cardOf(
  { id, name, files, summary, model, problem, noShares, used }: OpenCheckpoint,
  note: string | undefined,
): CheckpointCard {
  return {
    id,
    name,
    files: files.map(({ path }) => path),
    bytes: files.reduce((sum, { file }) => sum + file.size, 0),
    parameters: summary.parameters,
    architecture: model?.architecture,
    property: model?.property,
    unit: model?.unit,
    states: model?.config.type === "megnet" ? model.config.stateTypes : 0,
    noShares,
    used,
    note,
    problem,
  };
}

async function reasonAgainstShares(model: Model): Promise<string | undefined> {
  if (await shareRuleOf(model)) return undefined;
  if (model.config.task === "classification") return "it is a classifier: a probability is no sum over atoms";
  if (model.config.type === "megnet")
    return "MEGNet's last layers read weighted sums over atoms and bonds (Set2Set) and the state: no rule splits that among atoms";
  return "this ALIGNN's readout is not linear in its atoms";
}

function factsOf({ files, summary, bundle, model, metadata }: OpenCheckpoint): Facts {
  const normalizer = model?.normalizer;
  const metrics = Object.entries(summary.metrics).map(([name, value]) => `${name} ${value}`);
  return [
    ["Files", files.map(({ path, file }) => `${path} (${sized(file.size)})`).join(", ")],
    ["Format", `${summary.format}; layout ${summary.layout ?? "not known"}`],
    [
      "Parameters",
      `${summary.parameters.toLocaleString("en")} in ${summary.tensors.length.toLocaleString("en")} tensors`,
    ],
    ...(model
      ? ([
          ["Network", `${model.architecture}, ${model.config.task}`],
          ["Predicts", `${model.property ?? "not named by the checkpoint"}${model.unit ? ` in ${model.unit}` : ""}`],
          ["Normalizer", normalizer ? `mean ${normalizer.mean}, std ${normalizer.std}` : "none"],
        ] as const)
      : []),
    ...(summary.epoch === undefined ? [] : [["Epoch", String(summary.epoch)] as const]),
    ...(metrics.length > 0 ? [["Metrics", metrics.join(", ")] as const] : []),
    ...(metadata.test_mae === undefined ? [] : [["Test error", `MAE ${metadata.test_mae}`] as const]),
    ...(metadata.limits ? [["Limits", metadata.limits] as const] : []),
    ...(model?.sha256 ? [["SHA-256", model.sha256] as const] : []),
    ["Fetched to open", sized(bundle.torch.bytesRead)],
  ];
}

function tensorRows({ tensors }: CheckpointSummary, named: readonly NamedTensor[]): TensorRow[] {
  return tensors.map(({ dtype, shape, bytes, device, tiedTo, key }, i) => ({
    name: named[i].name,
    dtype: TORCH_DTYPES[dtype],
    shape: sizes(shape),
    bytes,
    notes: [
      key === undefined ? "not in the state dict" : "",
      device === "cpu" ? "" : device,
      tiedTo === undefined ? "" : `shares memory with ${tiedTo}`,
    ]
      .filter(Boolean)
      .join("; "),
  }));
}
