/** The few lines that resume a training from a checkpoint, for a person to copy. */
import type { Checkpoint } from "../checkpoint.js";
import { TorchTensor } from "../formats/torch-tensors.js";
import type { TorchValue } from "../formats/values.js";
import { checkRunName } from "../runs/checkpoint-names.js";
import type { Described } from "../runs/restore.js";
import { findPart, type Part } from "../runs/training-state.js";
import type { CheckpointSummary } from "../summary.js";
import { escaped } from "./shown.js";

/** What names code is loaded with weights_only=False or not at all, and a person should know. */
export function resumeInPython(
  path: string,
  { extra, layout }: Checkpoint,
  { epoch, parts }: Described,
  { stateDict, unsafeGlobals }: Pick<CheckpointSummary, "stateDict" | "unsafeGlobals">,
): string[] {
  const file = literal(path);
  if (path.toLowerCase().endsWith(".safetensors"))
    return [`model.load_state_dict(safetensors.torch.load_file(${file}))`];
  if (layout === "lightning") return [`trainer.fit(model, ckpt_path=${file})`];
  const lines =
    unsafeGlobals.length === 0
      ? [`checkpoint = torch.load(${file}, map_location="cpu")`]
      : [
          `# it names code (${escaped(unsafeGlobals[0])}) that loading runs: only if you trust the file`,
          `checkpoint = torch.load(${file}, map_location="cpu", weights_only=False)`,
        ];
  const weights = stateDict ? item(stateDict) : "checkpoint";
  lines.push(`model.load_state_dict(${weights})`);
  for (const part of ["optimizer", "scheduler"] as const)
    if (parts[part] === "there") lines.push(`${part}.load_state_dict(${item(keyOf(extra, part))})`);
  if (findPart(extra, "rng") instanceof TorchTensor) lines.push(`torch.set_rng_state(${item(keyOf(extra, "rng"))})`);
  if (epoch !== undefined) lines.push(`epoch = ${epoch}`);
  return lines;
}

/** @param run as listed; what programs named is resumed under a name of one's own */
export function resumeInJavaScript(directory: string, run: string, without: readonly Part[]): string[] {
  const isOwn = canBeNamed(run);
  const options = [
    ...(isOwn ? [] : [`from: ${literal(run)}`]),
    ...(without.length > 0 ? [`without: [${without.map(literal).join(", ")}]`] : []),
  ];
  const rest = options.length > 0 ? `, { ${options.join(", ")} }` : "";
  return [
    `const manager = new CheckpointManager(fsStore(${literal(directory)}), { run: ${isOwn ? literal(run) : '"NEW_NAME"'} });`,
    `const { state } = await manager.resume("latest"${rest});`,
  ];
}

function canBeNamed(run: string): boolean {
  try {
    return checkRunName(run) === run;
  } catch {
    return false;
  }
}

function keyOf(extra: ReadonlyMap<TorchValue, TorchValue>, part: Exclude<Part, "epoch">): string {
  const value = findPart(extra, part);
  const found = [...extra].find(([, other]) => other === value);
  return String(found?.[0]);
}

function item(key: string): string {
  return `checkpoint[${literal(key)}]`;
}

/** A string of Python and of JavaScript, in ASCII. */
function literal(text: string): string {
  return JSON.stringify(text).replace(/[^\x20-\x7e]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
