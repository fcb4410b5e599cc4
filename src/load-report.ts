/** Which tensors of a state dict a model can take, and everything that keeps the others out, told together. */
import { UnitcellError } from "./errors.js";
import { type DType, isRealNumber, type StateDict, type Tensor, TORCH_DTYPES } from "./tensor.js";

/** What a model wants under one name. */
export interface ExpectedTensor {
  /** Without it any will do. */
  readonly shape?: readonly number[];
  /** Element type the model computes with; without it any will do. */
  readonly dtype?: DType;
  /** May be absent, such as the batch counters that torch before 0.4.1 did not write and evaluation does not read. */
  readonly optional?: boolean;
}

/** Names are the model's, save those of `unexpected` and `remapped.from`, which are the state dict's own. */
export interface LoadReport {
  /** Tensors that fit, remapped and cast ones included. */
  readonly matched: readonly string[];
  readonly missing: readonly string[];
  readonly unexpected: readonly string[];
  readonly wrongShape: readonly {
    readonly name: string;
    readonly expected: readonly number[];
    readonly found: readonly number[];
  }[];
  /** Elements that cannot be cast: complex, quantized or packed ones where real numbers are wanted. */
  readonly wrongType: readonly { readonly name: string; readonly expected: DType; readonly found: DType }[];
  /** Names that fit without what wrappers put there: `module.` (DataParallel), `model.` (Lightning, matgl), `_orig_mod.` (torch.compile). */
  readonly remapped: readonly { readonly from: string; readonly to: string }[];
  /** Tensors that fit but for their element type; whoever uses them converts them. */
  readonly cast: readonly { readonly name: string; readonly from: DType; readonly to: DType }[];
}

type Expected = ReadonlyMap<string, ExpectedTensor>;
type Writable<T> = { -readonly [key in keyof T]: T[key] extends readonly (infer Item)[] ? Item[] : never };

/** Names of one kind in a message; `detail.report` has them all. */
const MOST_PROBLEMS = 20;
/** Examples of what went well, and of the names on either side when nothing fits. */
const MOST_EXAMPLES = 5;
/** Characters of one name in a message: a file's names can be of any length. */
const MOST_CHARACTERS = 200;
/** Parts of a common prefix that the hint tries; real ones have one or two ("model.net."). */
const PREFIX_PARTS = 8;

/**
 * The tensors of a state dict that fit a model, by the model's names, as the state dict holds them (their data is not
 * looked at), and a report of all that was found.
 * @param options.strict by default true: any missing, unexpected, wrong-shaped or wrong-typed tensor is an error
 * @throws {UnitcellError} MISMATCH with `detail.report` when strict and something does not fit; always when nothing
 *   fits, or when two names of the state dict become one without their prefixes (`detail.collisions`)
 */
export function matchStateDict(
  expected: Expected,
  stateDict: StateDict,
  { strict = true }: { strict?: boolean } = {},
): { tensors: Map<string, Tensor>; report: LoadReport } {
  const { sources, unexpected } = assignNames(expected, stateDict.keys());
  const tensors = new Map<string, Tensor>();
  const report: Writable<LoadReport> = {
    matched: [],
    missing: [],
    unexpected,
    wrongShape: [],
    wrongType: [],
    remapped: [],
    cast: [],
  };
  const collisions: { name: string; from: readonly string[] }[] = [];
  for (const [name, { shape, dtype, optional }] of expected) {
    const from = sources.get(name) ?? [];
    const tensor = stateDict.get(from[0]);
    if (from.length > 1) collisions.push({ name, from });
    if (!tensor) {
      if (!optional) report.missing.push(name);
      continue;
    }
    if (from[0] !== name) report.remapped.push({ from: from[0], to: name });
    const found = tensor.dtype;
    if (shape && tensor.shape.join() !== shape.join())
      report.wrongShape.push({ name, expected: shape, found: tensor.shape });
    else if (dtype && dtype !== found && !(isRealNumber(found) && isRealNumber(dtype)))
      report.wrongType.push({ name, expected: dtype, found });
    else {
      if (dtype && dtype !== found) report.cast.push({ name, from: found, to: dtype });
      report.matched.push(name);
      tensors.set(name, tensor);
    }
  }
  if (collisions.length) throw collisionError(collisions, report);
  if (!report.matched.some((name) => !expected.get(name)?.optional)) throw noMatchError(expected, stateDict, report);
  const problems = describeProblems(report);
  if (strict && problems.length)
    throw new UnitcellError(
      "MISMATCH",
      `the state dict does not fit the model: ${[...problems, ...describeChanges(report)].join("; ")}`,
      { report },
    );
  return { tensors, report };
}

/** A report in plain words, one line for each kind that has any, bounded. Empty when every name and type was as expected. */
export function describeLoadReport(report: LoadReport): string[] {
  return [...describeProblems(report), ...describeChanges(report)];
}

/**
 * A state dict without the prefixes that wrappers put before a model's names, for telling what model it is before it is
 * known what names the model has. Of two names that become one, that which needed no change counts, else the first:
 * matchStateDict refuses them.
 */
export function withoutWrapperPrefixes(stateDict: StateDict): StateDict {
  const bare: StateDict = new Map();
  for (const [name, tensor] of stateDict) {
    const short = withoutWrappers(withoutOrigMod(name));
    if (short === name || !bare.has(short)) bare.set(short, tensor);
  }
  return bare;
}

/** Up to `most` names as they can be shown, and how many more there are. */
export function listNames(names: readonly string[], most = MOST_EXAMPLES): string {
  return listBounded(names, most, shown);
}

/**
 * A sentence (with "; " before it) when all names start with a prefix that no wrapper is known to put there, else
 * nothing: with the part of the prefix without which most names fit, and how many.
 */
export function prefixHint(names: readonly string[], expected: { has(name: string): boolean }): string {
  const bare = names.map((name) => withoutWrappers(withoutOrigMod(name)));
  let hint = "";
  let most = -1;
  for (let part = 0, end = 0; part < PREFIX_PARTS && bare.length; part++) {
    end = bare[0].indexOf(".", end) + 1;
    const prefix = bare[0].slice(0, end);
    if (end === 0 || !bare.every((name) => name.startsWith(prefix))) break;
    const fitting = bare.filter((name) => expected.has(name.slice(end))).length;
    if (fitting <= most) continue;
    most = fitting;
    const remedy = fitting ? `; without it ${fitting} would fit: take it off the names first` : "";
    hint = `; every name starts with "${shown(prefix)}"${remedy}`;
  }
  return hint;
}

/**
 * For each name the model wants, the names of the state dict that stand for it. A name that fits as it is stays; one
 * that does not loses `_orig_mod.` wherever it stands and as few leading `module.` as make it fit.
 */
function assignNames(
  expected: Expected,
  names: Iterable<string>,
): { sources: Map<string, string[]>; unexpected: string[] } {
  const byBareName = new Map<string, string[]>();
  for (const name of expected.keys()) append(byBareName, withoutWrappers(name), name);
  for (const candidates of byBareName.values()) candidates.sort((a, b) => b.length - a.length);
  const sources = new Map<string, string[]>();
  const unexpected: string[] = [];
  for (const name of names) {
    const compiled = withoutOrigMod(name);
    const candidates = byBareName.get(withoutWrappers(compiled));
    const target = expected.has(name) ? name : candidates?.find((candidate) => compiled.endsWith(candidate));
    if (target === undefined) unexpected.push(name);
    else append(sources, target, name);
  }
  return { sources, unexpected };
}

function append(lists: Map<string, string[]>, key: string, item: string): void {
  const list = lists.get(key);
  if (list) list.push(item);
  else lists.set(key, [item]);
}

/** torch.compile wraps any module, so its prefix may stand before any part of a name. */
function withoutOrigMod(name: string): string {
  return name.replace(/(?<=^|\.)_orig_mod\./g, "");
}

/** What a wrapper calls the model inside it: DataParallel "module"; Lightning modules and matgl's models "model". */
const WRAPPED = ["module.", "model."] as const;

/** Wrappers hold the whole model, or each other; within a name, "module" and "model" are modules' own names. */
function withoutWrappers(name: string): string {
  let start = 0;
  for (;;) {
    const prefix = WRAPPED.find((known) => name.startsWith(known, start));
    if (!prefix) return name.slice(start);
    start += prefix.length;
  }
}

function collisionError(collisions: { name: string; from: readonly string[] }[], report: LoadReport): UnitcellError {
  const list = listBounded(
    collisions,
    MOST_PROBLEMS,
    ({ name, from }) => `${listNames(from)} would all be ${shown(name)}`,
  );
  return new UnitcellError("MISMATCH", `several names become one without their wrapper prefixes: ${list}`, {
    collisions,
    report,
  });
}

function noMatchError(expected: Expected, stateDict: StateDict, report: LoadReport): UnitcellError {
  const names = [...stateDict.keys()];
  const wrong = describeProblems({ ...report, missing: [], unexpected: [] });
  const parts = [
    `the model wants ${listNames([...expected.keys()]) || "nothing"}`,
    `the state dict has ${listNames(names) || "no tensors"}`,
    ...wrong,
  ];
  const hint = prefixHint(report.unexpected.length === names.length ? names : [], expected);
  return new UnitcellError("MISMATCH", `no tensor of the state dict fits the model: ${parts.join("; ")}${hint}`, {
    report,
  });
}

/** What keeps a state dict from being all that the model wants and nothing else. */
function describeProblems({ missing, unexpected, wrongShape, wrongType }: LoadReport): string[] {
  return [
    describe("missing", missing, MOST_PROBLEMS, shown),
    describe("unexpected", unexpected, MOST_PROBLEMS, shown),
    describe(
      "of another shape",
      wrongShape,
      MOST_PROBLEMS,
      ({ name, expected, found }) => `${shown(name)} is [${found}], expected [${expected}]`,
    ),
    describe(
      "of a type that cannot be cast",
      wrongType,
      MOST_PROBLEMS,
      ({ name, expected, found }) => `${shown(name)} is ${TORCH_DTYPES[found]}, expected ${TORCH_DTYPES[expected]}`,
    ),
  ].flat();
}

/** What was done to make tensors fit. */
function describeChanges({ remapped, cast }: LoadReport): string[] {
  return [
    describe("remapped", remapped, MOST_EXAMPLES, ({ from, to }) => `${shown(from)} to ${shown(to)}`),
    describe(
      "cast",
      cast,
      MOST_EXAMPLES,
      ({ name, from, to }) => `${shown(name)} from ${TORCH_DTYPES[from]} to ${TORCH_DTYPES[to]}`,
    ),
  ].flat();
}

function describe<T>(kind: string, items: readonly T[], most: number, show: (item: T) => string): string[] {
  return items.length ? [`${items.length} ${kind}: ${listBounded(items, most, show)}`] : [];
}

function listBounded<T>(items: readonly T[], most: number, show: (item: T) => string): string {
  const rest = items.length - most;
  return items.slice(0, most).map(show).join(", ") + (rest > 0 ? ` and ${rest} more` : "");
}

/** A name for a message: quoted and escaped when it is not plain, since it may go to a terminal; cut when long. */
function shown(name: string): string {
  const text = name.length > MOST_CHARACTERS ? `${name.slice(0, MOST_CHARACTERS)}...` : name;
  return /^[\w.:-]+$/.test(text) ? text : JSON.stringify(text);
}
