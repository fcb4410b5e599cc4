/** What the files beside a state dict say: ALIGNN's config.json, matgl's model.pt and model.json. */
import { FileBytes, type Input, type Limits, limitsOf } from "../bytes.js";
import { isUnitcellError, reworded, UnitcellError } from "../errors.js";
import { checkSettingsSize, parseSettings } from "../formats/json-values.js";
import { kindOf } from "../formats/kind-of.js";
import { NamesFound } from "../formats/pickle.js";
import { openTorch, type ReadOptions } from "../formats/torch.js";
import { PythonObject, type TorchValue } from "../formats/values.js";
import { isTensor } from "../formats/walk.js";
import { CONFIG, MATGL_ARGS, MATGL_TEXT } from "./file-names.js";
import { isStateDict, namedValues, readNormalizer } from "./parts.js";

export interface Settings {
  readonly args?: ReadonlyMap<string, TorchValue>;
  readonly normalizer?: { readonly mean: number; readonly std: number };
}

type Named = ReadonlyMap<string, TorchValue>;

/** matgl's transformers of targets; a model file names the class of one. Source: matgl/data/transformer.py. */
const TRANSFORMER = /^matgl\.data\.transformer\.\w+$/;
const NORMALIZER = "matgl.data.transformer.Normalizer";

/**
 * The settings that a state dict's companions hold.
 * @param files those companions that are there, by name
 * @throws {UnitcellError} CORRUPT for a text that is no JSON object, MISMATCH when model.pt and model.json contradict each
 *   other, NOT_FOUND when model.json speaks of a transformer and model.pt is not there, UNSUPPORTED for a transformer
 *   other than the Normalizer, UNSAFE when model.pt names any other code, LIMIT for a text beyond settingsBytes
 */
export async function readSettings(files: ReadonlyMap<string, Input>, options: ReadOptions): Promise<Settings> {
  const limits = limitsOf(options.limits);
  const pickled = await inFile(MATGL_ARGS, files, (input) => readMatgl(input, options));
  const written = await inFile(MATGL_TEXT, files, (input) => readText(input, MATGL_TEXT, limits));
  const kwargs = namedValues(written?.get("kwargs"));
  if (kwargs?.get("target_transformer") && !pickled)
    throw new UnitcellError(
      "NOT_FOUND",
      `${MATGL_TEXT} names a transformer of targets, whose numbers are in ${MATGL_ARGS}, which is not there`,
    );
  const args = written && initArgs(kwargs ?? written);
  if (pickled && args) checkSame(pickled.args, args);
  if (pickled) return pickled;
  if (args) return { args };
  const config = await inFile(CONFIG, files, (input) => readText(input, CONFIG, limits));
  return config ? { args: config } : {};
}

/** What `read` makes of a file, with the file's name in front of what is wrong with it; undefined where it is not there. */
async function inFile<T>(
  name: string,
  files: ReadonlyMap<string, Input>,
  read: (input: Input) => Promise<T>,
): Promise<T | undefined> {
  const input = files.get(name);
  if (!input) return undefined;
  try {
    return await read(input);
  } catch (error) {
    if (!isUnitcellError(error) || error.message.startsWith(name)) throw error;
    throw reworded(error, `${name}: ${error.message}`);
  }
}

async function readText(input: Input, name: string, limits: Limits): Promise<Named> {
  const file = new FileBytes(input);
  checkSettingsSize(file.size, name, limits);
  return parseSettings(await file.read(0, file.size), name, limits);
}

/** matgl's model.pt: the arguments a model was made with, models among them as {"@class", "init_args": arguments}. */
async function readMatgl(input: Input, options: ReadOptions): Promise<Settings & { args: Named }> {
  const file = await openTorch(input, { ...options, unknownClasses: "inert" });
  const foreign = new NamesFound();
  for (const name of file.unknownGlobals) if (!TRANSFORMER.test(name)) foreign.unknown.add(name);
  if (options.unknownClasses !== "inert") foreign.refuseUnknown();
  const root = namedValues(file.root);
  if (!root) throw new UnitcellError("MISMATCH", `expected a dict of arguments, found ${kindOf(file.root)}`);
  if (isStateDict(file.root))
    throw new UnitcellError("MISMATCH", "expected matgl's arguments, found a state dict; name the file to open");
  const args = initArgs(root);
  const transformer = root.get("target_transformer") ?? null;
  if (transformer === null) return { args };
  if (!(transformer instanceof PythonObject && transformer.type === NORMALIZER))
    throw new UnitcellError(
      "UNSUPPORTED",
      `the target transformer ${kindOf(transformer)} is not understood; ${NORMALIZER} is`,
    );
  const state = transformer.state ?? null;
  if (state instanceof Map) await file.load([...state.values()].filter(isTensor));
  return { args, normalizer: readNormalizer(state, "the Normalizer") };
}

/** Of a model that wraps another (TransformedTargetModel), the arguments of the one inside. */
function initArgs(args: Named): Named {
  const model = args.get("model");
  const inner = model instanceof Map ? namedValues(model.get("init_args")) : undefined;
  return inner ?? args;
}

/** Both were written from the same arguments; where they differ, no one can know which the weights were trained with. */
function checkSame(pickled: Named, written: Named): void {
  const differing = [...written.keys()].filter((key) => !isSame(pickled.get(key), written.get(key)));
  if (differing.length > 0)
    throw new UnitcellError(
      "MISMATCH",
      `${MATGL_ARGS} and ${MATGL_TEXT} say different things of ${differing.slice(0, 20).join(", ")}`,
      { names: differing },
    );
}

/** Equal as far as JSON can tell: it writes tuples as lists, objects as texts, and may lack keys. */
function isSame(pickled: TorchValue | undefined, written: TorchValue | undefined): boolean {
  if (pickled === undefined) return true;
  if (Array.isArray(pickled))
    return (
      Array.isArray(written) &&
      pickled.length === written.length &&
      pickled.every((item, i) => isSame(item, written[i] as TorchValue))
    );
  if (pickled instanceof Map)
    return written instanceof Map && [...written].every(([key, item]) => isSame(pickled.get(key), item));
  if (typeof pickled === "object" && pickled !== null) return typeof written === "string";
  if (typeof pickled === "bigint") return Number(pickled) === written;
  return Object.is(pickled, written);
}
