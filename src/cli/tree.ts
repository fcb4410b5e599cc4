/** A file's value as a tree that can be printed: bounded in depth, width and size, whatever the file holds. */

import { Storage, TorchTensor } from "../formats/torch-tensors.js";
import {
  ByteArray,
  Complex,
  isFloatAt,
  NumpyArray,
  NumpyDtype,
  NumpyScalar,
  OrderedDict,
  PythonGlobal,
  PythonObject,
  SparseTensor,
  TorchConstant,
  TorchSize,
  type TorchValue,
} from "../formats/values.js";
import { isTensor, type Place, partsOf, placeName } from "../formats/walk.js";
import { TORCH_DTYPES } from "../tensor.js";
import { counted, escaped, plural, quotedText } from "./shown.js";

export interface TreeNode {
  /** As it can be shown; undefined at the root. */
  readonly key?: string;
  /** "dict", "tensor", "int", "object of collections.deque". */
  readonly kind: string;
  /** A scalar's value, or what a container holds. */
  readonly text?: string;
  readonly children?: readonly TreeNode[];
  /** Children that are not shown. */
  readonly more?: number;
}

export interface TreeOptions {
  /** Levels below the root. */
  readonly depth: number;
  /** Children of one value. */
  readonly limit: number;
  /** true: dicts of tensors only are told by their number, lists of numbers and texts in one line. */
  readonly fold: boolean;
}

/** Nodes of one tree, so that a file of a million small dicts does not fill the screen. */
const MOST_NODES = 10_000;
/** Characters of one string or list of sizes. */
const MOST_TEXT = 60;

/** The tree of a value. A value met before, be it in a cycle or shared, is a node that names its first place. */
export function treeOf(root: TorchValue, options: TreeOptions): TreeNode {
  return new TreeBuilder(options).node(root, undefined, undefined, 0);
}

/** The lines of a tree's children, two spaces in for each level. */
export function treeLines(tree: TreeNode, indent = "  "): string[] {
  const lines: string[] = [];
  for (const { key, kind, text, children, more } of tree.children ?? []) {
    const what = text === undefined ? kind : SCALARS.has(kind) ? text : `${kind} ${text}`;
    lines.push(`${indent}${key}: ${what}`);
    lines.push(...treeLines({ kind, ...(children && { children }), ...(more && { more }) }, `${indent}  `));
  }
  if (tree.more) lines.push(`${indent}... and ${counted(tree.more)} more`);
  return lines;
}

/** Kinds whose text says it all. */
const SCALARS = new Set(["None", "bool", "int", "float", "str"]);

class TreeBuilder {
  private readonly options: TreeOptions;
  private readonly seen = new Map<TorchValue, Place | undefined>();
  private left = MOST_NODES;

  constructor(options: TreeOptions) {
    this.options = options;
  }

  node(value: TorchValue, place: Place | undefined, parent: TorchValue | undefined, depth: number): TreeNode {
    this.left--;
    const key = place && { key: shownKey(place.key) };
    if (typeof value !== "object" || value === null) return { ...key, ...scalar(value, parent, place?.key) };
    const kind = kindOf(value);
    if (this.seen.has(value) && holdsOthers(value)) {
      const first = this.seen.get(value);
      return { ...key, kind, text: `(the same as ${first ? escaped(placeName(first)) : "the whole"})` };
    }
    this.seen.set(value, place);
    const text = textOf(value);
    const folded = this.options.fold ? foldedText(value) : undefined;
    if (folded !== undefined) return { ...key, kind, text: folded };
    return { ...key, kind, ...(text !== undefined && { text }), ...this.children(value, place, depth) };
  }

  private children(
    value: TorchValue,
    place: Place | undefined,
    depth: number,
  ): { children?: readonly TreeNode[]; more?: number } {
    const parts = partsOf({ value, place });
    if (parts.length === 0) return {};
    const most = depth < this.options.depth ? Math.min(this.options.limit, Math.max(0, this.left)) : 0;
    const children: TreeNode[] = [];
    for (const part of parts.slice(0, most)) {
      if (this.left <= 0) break;
      children.push(this.node(part.value, part.place, value, depth + 1));
    }
    const more = parts.length - children.length;
    // At the last level the container's own text says how many there are.
    return { ...(children.length > 0 && { children }), ...(more > 0 && children.length > 0 && { more }) };
  }
}

/** A dict of tensors, or a list of scalars, in one line; undefined for others. */
function foldedText(value: TorchValue & object): string | undefined {
  if (value instanceof Map && value.size > 4 && [...value.values()].every(isTensor))
    return `of ${plural(value.size, "tensor")}`;
  if (!Array.isArray(value) || value.length === 0 || value instanceof TorchSize) return undefined;
  if (value.some((item) => typeof item === "object" && item !== null)) return undefined;
  const items: string[] = [];
  for (const [i, item] of value.entries()) {
    const text = typeof item === "string" ? quotedText(item, MOST_TEXT / 2) : scalar(item, value, i).text;
    if (items.join(", ").length + text.length > MOST_TEXT) break;
    items.push(text);
  }
  const all = items.length === value.length ? "" : items.length > 0 ? ", ..." : "...";
  return `of ${value.length}: ${items.join(", ")}${all}`;
}

function shownKey(key: TorchValue): string {
  // Parts that are no keys are named in parentheses: (attributes), (argument 0).
  if (typeof key === "string") return /^[A-Za-z_(][\w.() -]{0,199}$/.test(key) ? key : quotedText(key);
  return typeof key === "object" && key !== null ? `(${kindOf(key)})` : scalar(key, undefined, undefined).text;
}

function scalar(value: null | boolean | number | bigint | string, parent: TorchValue | undefined, key: unknown) {
  if (value === null) return { kind: "None", text: "None" };
  if (typeof value === "boolean") return { kind: "bool", text: value ? "True" : "False" };
  if (typeof value === "string") return { kind: "str", text: quotedText(value, MOST_TEXT) };
  if (typeof value === "bigint") return { kind: "int", text: escaped(String(value), MOST_TEXT) };
  const isWhole = Number.isSafeInteger(value) && !Object.is(value, -0);
  if (isWhole && !(typeof parent === "object" && parent !== null && isFloatAt(parent, key)))
    return { kind: "int", text: String(value) };
  return { kind: "float", text: Number.isInteger(value) ? floatText(value) : String(value) };
}

function floatText(value: number): string {
  const text = Object.is(value, -0) ? "-0" : String(value);
  return /[.e]/.test(text) ? text : `${text}.0`;
}

function holdsOthers(value: TorchValue): boolean {
  return partsOf({ value, place: undefined }).length > 0 || isTensor(value);
}

/** A word for a value's Python type. */
export function kindOf(value: TorchValue): string {
  if (value === null) return "None";
  if (typeof value !== "object")
    return { boolean: "bool", string: "str", bigint: "int" }[typeof value as string] ?? "number";
  if (Array.isArray(value))
    return value instanceof TorchSize ? "torch.Size" : Object.isFrozen(value) ? "tuple" : "list";
  if (value instanceof OrderedDict) return "OrderedDict";
  if (value instanceof Map) return "dict";
  if (value instanceof Set) return Object.isFrozen(value) ? "frozenset" : "set";
  if (value instanceof Uint8Array) return value instanceof ByteArray ? "bytearray" : "bytes";
  if (value instanceof TorchTensor && value.isParameter) return "Parameter";
  if (isTensor(value)) return "tensor";
  if (value instanceof SparseTensor) return `${escaped(value.layout)} tensor`;
  if (value instanceof Storage) return "storage";
  if (value instanceof Complex) return "complex";
  if (value instanceof TorchConstant) return `torch.${value.kind}`;
  if (value instanceof NumpyArray) return "numpy array";
  if (value instanceof NumpyScalar) return "numpy scalar";
  if (value instanceof NumpyDtype) return "numpy dtype";
  if (value instanceof PythonGlobal) return "class or function";
  if (value instanceof PythonObject) return `object of ${escaped(value.type)}`;
  return "object";
}

/** A value in a few words beside its kind. */
export function textOf(value: TorchValue): string | undefined {
  if (value === null || typeof value !== "object") return scalar(value, undefined, undefined).text;
  if (value instanceof TorchSize) return sizes(value);
  if (Array.isArray(value) || value instanceof Map || value instanceof Set)
    return `of ${Array.isArray(value) ? value.length : value.size}`;
  if (value instanceof Uint8Array) return `of ${plural(value.byteLength, "byte")}`;
  if (isTensor(value)) return `${TORCH_DTYPES[value.dtype]} ${sizes(value.shape)}`;
  if (value instanceof SparseTensor) return sizes(value.shape);
  if (value instanceof Storage) return `${escaped(value.key)} of ${plural(value.byteLength, "byte")}`;
  if (value instanceof Complex) return `${value.re}${value.im < 0 ? "-" : "+"}${Math.abs(value.im)}j`;
  if (value instanceof TorchConstant) return escaped(String(value));
  if (value instanceof NumpyArray) return `${escaped(String(value.dtype))} ${sizes(value.shape)}`;
  if (value instanceof NumpyScalar) return `${escaped(String(value.dtype))} ${numpyText(value.value)}`;
  if (value instanceof NumpyDtype) return escaped(String(value));
  if (value instanceof PythonGlobal) return escaped(value.name);
  return undefined;
}

function numpyText(value: NumpyScalar["value"]): string {
  if (value === undefined) return "(no plain number)";
  if (typeof value === "string") return quotedText(value, MOST_TEXT);
  return typeof value === "object" ? (textOf(value) ?? "") : String(value);
}

/** [3, 4], cut when it is long. */
export function sizes(shape: readonly number[]): string {
  const text = shape.join(", ");
  return text.length > MOST_TEXT ? `[${text.slice(0, MOST_TEXT)}...]` : `[${text}]`;
}
