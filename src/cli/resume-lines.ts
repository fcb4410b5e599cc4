/** The few lines that resume a training from a checkpoint, for a person to copy. */
import type { Checkpoint } from "../checkpoint.js";
import { TorchTensor } from "../formats/torch-tensors.js";
import type { TorchValue } from "../formats/values.js";
import { checkRunName } from "../runs/checkpoint-names.js";
import type { Described } from "../runs/restore.js";
import { findPart, type Part } from "../runs/training-state.js";
import type { CheckpointSummary } from "../summary.js";
import { escaped } from "./shown.js";

/** What torch.load's default, weights_only=True, takes besides torch's own. Source: torch/_weights_only_unpickler.py. */
const PLAIN = new Set([
  "collections.OrderedDict",
  "collections.Counter",
  "_codecs.encode",
  "builtins.bytearray",
  "builtins.set",
  "builtins.complex",
]);
/** Keys of torch's own generator in a dict of several. */
const TORCH_GENERATOR = new Set(["torch", "cpu", "torch_rng_state", "torch_cpu"]);
/** Names in a comment. */
const MOST_NAMES = 6;

/** What names code is loaded with weights_only=False or not at all, and a person should know. */
export function resumeInPython(
  path: string,
  { extra, layout }: Checkpoint,
  { epoch, parts }: Described,
  { stateDict, ...names }: Pick<CheckpointSummary, "stateDict" | "globals" | "unsafeGlobals">,
): string[] {
  const file = literal(path);
  if (path.toLowerCase().endsWith(".safetensors"))
    return [`model.load_state_dict(safetensors.torch.load_file(${file}))`];
  // A run that the manager went on with has still Lightning's marks, but not its optimizers.
  if (layout === "lightning" && extra.has("optimizer_states")) return [`trainer.fit(model, ckpt_path=${file})`];
  const lines = loadLines(file, names);
  const weights = stateDict ? item(stateDict) : "checkpoint";
  lines.push(`model.load_state_dict(${weights})`);
  for (const part of ["optimizer", "scheduler"] as const)
    if (parts[part] === "there") lines.push(...partLines(part, findPart(extra, part), item(keyOf(extra, part))));
  lines.push(...generatorLines(extra));
  if (epoch !== undefined) lines.push(`epoch = ${epoch}`);
  return lines;
}

function loadLines(
  file: string,
  { globals, unsafeGlobals }: Pick<CheckpointSummary, "globals" | "unsafeGlobals">,
): string[] {
  const refused = globals.find((name) => !name.startsWith("torch.") && !PLAIN.has(name));
  if (unsafeGlobals.length === 0 && refused === undefined)
    return [`checkpoint = torch.load(${file}, map_location="cpu")`];
  const why =
    unsafeGlobals.length > 0
      ? `it names code (${escaped(unsafeGlobals[0])}) that loading runs: only if you trust the file`
      : `it is plain data, but weights_only=True refuses ${escaped(refused!)}`;
  return [`# ${why}`, `checkpoint = torch.load(${file}, map_location="cpu", weights_only=False)`];
}

/** One state, or a list of them as Lightning has it, also in what went on from there. */
function partLines(part: "optimizer" | "scheduler", value: TorchValue | undefined, place: string): string[] {
  if (!Array.isArray(value)) return [`${part}.load_state_dict(${place})`];
  if (value.length < 2) return value.map((_, i) => `${part}.load_state_dict(${place}[${i}])`);
  return [`for each, saved in zip(${part}s, ${place}): each.load_state_dict(saved)`];
}

/** Programs keep the state of torch's generator, or a dict of those of several libraries. */
function generatorLines(extra: Checkpoint["extra"]): string[] {
  const found = findPart(extra, "rng") ?? null;
  if (found === null) return [];
  const place = item(keyOf(extra, "rng"));
  if (found instanceof TorchTensor) return [`torch.set_rng_state(${place})`];
  const lines: string[] = [];
  const others: string[] = [];
  for (const [key, value] of found instanceof Map ? found : [])
    if (value instanceof TorchTensor && typeof key === "string" && TORCH_GENERATOR.has(key))
      lines.push(`torch.set_rng_state(${place}[${literal(key)}])`);
    else others.push(typeof key === "string" ? literal(key) : String(key));
  const what = others.length > 0 ? others.slice(0, MOST_NAMES).join(", ") : "states";
  if (others.length > 0 || lines.length === 0)
    lines.push(`# ${lines.length > 0 ? "also " : ""}to be restored, of other generators: ${what} in ${place}`);
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
