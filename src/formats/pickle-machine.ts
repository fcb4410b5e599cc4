/**
 * The state of the pickle machine: stack, marks, memo, and the rules for what may be made, built and appended to.
 * The opcodes that drive it are the table in pickle.ts.
 */
import type { ByteReader, Limits } from "../bytes.js";
import { UnitcellError } from "../errors.js";
import {
  ByteArray,
  Complex,
  Float,
  OrderedDict,
  PythonGlobal,
  PythonObject,
  placeFloat,
  placeFloatKey,
  type TorchConstant,
  type TorchValue,
} from "./values.js";

/** Counts keys that can be chosen to collide; one for all pickles of a file. */
export class KeyCount {
  private readonly limit: number;
  private wide = 0;

  constructor({ wideKeys }: Limits) {
    this.limit = wideKeys;
  }

  /** @throws {UnitcellError} LIMIT above wideKeys */
  add(key: TorchValue): void {
    const isWide = typeof key === "bigint" || (typeof key === "number" && (key | 0) !== key);
    if (isWide && ++this.wide > this.limit)
      throw new UnitcellError("LIMIT", `more than ${this.limit} keys of dicts and sets are floats or large integers`, {
        limit: this.limit,
      });
  }
}

/** What a name on the closed list does: code of ours, chosen by the caller, never by the file. */
export interface PickleClass {
  /** REDUCE, NEWOBJ, INST, OBJ: a value from arguments. */
  readonly create: (args: readonly TorchValue[]) => TorchValue;
  /** BUILD: takes state into a value that `create` made. */
  readonly build?: (target: TorchValue, state: TorchValue) => void;
}

/** What an opcode does. */
export type Opcode = (machine: Machine) => void;
export type OpcodeRow = readonly [code: number, name: string, run: Opcode];
/** By byte. */
export type OpcodeTable = readonly (Opcode | undefined)[];

/** Thrown where a pickle asks for what few pickles do and the context lacks: read it again with `rare()`. */
export class RareNeeded extends Error {}

export interface PickleContext {
  /** Those that torch.save does not use; without them RareNeeded is thrown where one comes. */
  readonly rareOpcodes?: OpcodeTable;
  /** Names that make something, "module.name" with Python 3's module names. */
  readonly classes: Pick<ReadonlyMap<string, PickleClass>, "get" | "has">;
  /** Names that are values (torch.float32). */
  readonly constants: ReadonlyMap<string, TorchConstant>;
  /** True for names that are plain data as inert objects (argparse.Namespace). */
  readonly isInert: (name: string) => boolean;
  /** Turns a persistent id into a value; without it, ids are CORRUPT. */
  readonly persistentId?: (id: TorchValue) => TorchValue;
  readonly limits: Limits;
  /** Where several pickles share the count. */
  readonly keys?: KeyCount;
}

/** Python's way to a class inside a class, and to a method. */
const GETATTR = "builtins.getattr";

/** An item of a list that is copied. */
const ITEM_BYTES = 8;

type Kwargs = ReadonlyMap<TorchValue, TorchValue>;

/** Python 2's names of the modules that pickle protocols below 3 write so. */
const PYTHON_3_MODULES: ReadonlyMap<string, string> = new Map([
  ["__builtin__", "builtins"],
  ["copy_reg", "copyreg"],
]);

/** Values by index. Indices count up from 0 in what Python writes; any up to 2^32 - 1 is legal, so an array alone would be a bomb. */
class Memo {
  private readonly dense: TorchValue[] = [];
  private readonly sparse = new Map<number, TorchValue>();

  get size(): number {
    return this.dense.length + this.sparse.size;
  }

  get(index: number): TorchValue | undefined {
    return index < this.dense.length ? this.dense[index] : this.sparse.get(index);
  }

  set(index: number, value: TorchValue): void {
    if (index < this.dense.length) this.dense[index] = value;
    else if (index === this.dense.length) {
      this.dense.push(value);
      this.sparse.delete(index);
    } else this.sparse.set(index, value);
  }
}

/** Stack, marks and memo. Values below the last mark are out of reach of `pop`, as in CPython. */
export class Machine {
  readonly reader: ByteReader;
  readonly context: PickleContext;
  readonly limits: Limits;
  readonly memo = new Memo();
  /** Every name, as written, in order of first appearance. */
  readonly globals = new Set<string>();
  /** Those outside the closed list. */
  readonly unknown = new Set<string>();
  /** Run so far, those of earlier pickles included where they share a limit. */
  opcodes = 0;
  private readonly keys: KeyCount;
  private readonly stack: TorchValue[] = [];
  private readonly marks: number[] = [];
  /** Height of the stack at the last mark. */
  private floor = 0;
  private readonly names = new Map<string, PythonGlobal | TorchConstant>();
  /** What calls took from their arguments, bytes. */
  private copied = 0;
  private readonly makers = new Map<TorchValue, PickleClass>();

  constructor(reader: ByteReader, context: PickleContext) {
    this.reader = reader;
    this.context = context;
    this.limits = context.limits;
    this.keys = context.keys ?? new KeyCount(context.limits);
  }

  push(value: TorchValue): void {
    this.stack.push(value);
    if (this.stack.length > this.limits.pickleStack) throw this.tooDeep();
  }

  pop(): TorchValue {
    const top = this.top();
    this.stack.pop();
    return top;
  }

  top(): TorchValue {
    if (this.stack.length <= this.floor) throw corrupt("the stack is empty", this);
    return this.stack[this.stack.length - 1];
  }

  mark(): void {
    this.marks.push(this.stack.length);
    this.floor = this.stack.length;
    if (this.marks.length > this.limits.pickleStack) throw this.tooDeep();
  }

  /** Everything above the last mark; the mark goes too. */
  popMark(): TorchValue[] {
    const mark = this.marks.pop();
    if (mark === undefined) throw corrupt("an opcode needs a MARK and there is none", this);
    this.dropFloor();
    return this.stack.splice(mark);
  }

  /** POP removes a mark when one is on top. */
  popOrUnmark(): void {
    if (this.marks.length > 0 && this.floor === this.stack.length) {
      this.marks.pop();
      this.dropFloor();
    } else this.pop();
  }

  private dropFloor(): void {
    this.floor = this.marks.length > 0 ? this.marks[this.marks.length - 1] : 0;
  }

  popTuple(count: number): void {
    const items = new Array<TorchValue>(count);
    for (let i = count - 1; i >= 0; i--) items[i] = this.pop();
    this.push(settleTuple(items));
  }

  remember(index: number): void {
    this.memo.set(index, this.top());
  }

  recall(index: number): void {
    const value = this.memo.get(index);
    if (value === undefined) throw corrupt(`memo entry ${index} was never stored`, this);
    this.push(value);
  }

  /** Dotted names walk attributes in Python, so they never match; neither does anything but the whole name. */
  global(module: TorchValue, name: TorchValue): void {
    if (typeof module !== "string" || typeof name !== "string")
      throw corrupt("a global's module and name must be strings", this);
    const written = `${module}.${name}`;
    const isDotted = name.includes(".");
    const key = isDotted ? `${module}:${name}` : written;
    const seen = this.names.get(key);
    if (seen !== undefined) {
      this.push(seen);
      return;
    }
    const full = `${PYTHON_3_MODULES.get(module) ?? module}.${name}`;
    const { classes, constants, isInert } = this.context;
    const constant = isDotted ? undefined : constants.get(full);
    this.globals.add(written);
    if (!constant && (isDotted || !(classes.has(full) || isInert(full)))) this.unknown.add(written);
    const value = constant ?? new PythonGlobal(full, full.slice(0, -name.length - 1));
    this.names.set(key, value);
    this.push(value);
  }

  /** Calls nothing: a listed name makes a value of ours, any other becomes an inert object. */
  create(type: TorchValue, args: TorchValue, how: PythonObject["how"], kwargs?: Kwargs): void {
    if (!isTuple(args)) throw corrupt(`${describe(type)} needs a tuple of arguments, found ${describe(args)}`, this);
    if (type instanceof PythonObject) {
      this.push(new PythonObject(calleeName(type), how, args, kwargs, type));
      return;
    }
    if (!(type instanceof PythonGlobal)) throw corrupt(`${describe(type)} cannot be called`, this);
    const { name } = type;
    this.checkAttribute(name, args);
    // A dotted name never matches: it reaches through attributes.
    const isDotted = name.indexOf(".", type.module.length + 1) > 0;
    const maker = isDotted || kwargs ? undefined : this.context.classes.get(name);
    this.push(
      maker
        ? this.make(name, maker, args, how)
        : new PythonObject(name, how, args, kwargs, isDotted ? type : undefined),
    );
  }

  /**
   * Where getattr itself is not refused, what it takes has to be listed: from any function one comes to Python's whole
   * library by attributes.
   */
  private checkAttribute(name: string, args: readonly TorchValue[]): void {
    const { isInert } = this.context;
    if (name !== GETATTR || !isInert(GETATTR)) return;
    const attribute = attributeName(args);
    if (attribute === undefined || !isInert(attribute)) this.unknown.add(attribute ?? GETATTR);
  }

  private make(name: string, maker: PickleClass, args: readonly TorchValue[], how: PythonObject["how"]): TorchValue {
    this.countCopy(args);
    try {
      const value = maker.create(args);
      if (maker.build) this.makers.set(value, maker);
      return value;
    } catch (error) {
      // What an unknown name stands for cannot be used by ours; going on finds the other names.
      if (this.unknown.size === 0) throw error;
      return new PythonObject(name, how, args);
    }
  }

  /** @throws {UnitcellError} LIMIT when calls would copy more of their arguments than pickleCopyRatio allows */
  private countCopy(args: readonly TorchValue[]): void {
    for (const arg of args)
      if (typeof arg === "string") this.copied += arg.length;
      else if (arg instanceof Uint8Array) this.copied += arg.byteLength;
      else if (Array.isArray(arg)) this.copied += ITEM_BYTES * arg.length;
    const limit = this.limits.pickleCopyRatio * this.reader.offset;
    if (this.copied > limit)
      throw new UnitcellError("LIMIT", `calls in the pickle copy ${this.copied} bytes, the limit here is ${limit}`, {
        copied: this.copied,
        limit,
      });
  }

  build(state: TorchValue): void {
    const target = this.top();
    if (target instanceof PythonObject) target.state = placeFloat(state, target, "state");
    else if (target instanceof OrderedDict) {
      if (!(state instanceof Map)) throw corrupt("the state of an OrderedDict is not a dict", this);
      target.attributes = state;
    } else {
      const maker = this.makers.get(target);
      if (!maker?.build) throw corrupt(`${describe(target)} takes no state`, this);
      if (isTuple(state)) this.countCopy(state);
      maker.build(target, state);
    }
  }

  persistentId(id: TorchValue): void {
    if (!this.context.persistentId) throw corrupt("a persistent id where none is expected", this);
    this.push(this.context.persistentId(id));
  }

  append(items: readonly TorchValue[]): void {
    const target = this.top();
    if (target instanceof PythonObject) target.listItems = appendTo(target.listItems ?? [], items);
    else if (Array.isArray(target) && !Object.isFrozen(target)) appendTo(target, items);
    else throw corrupt(`cannot append to ${describe(target)}`, this);
  }

  add(items: readonly TorchValue[]): void {
    const target = this.top();
    if (target instanceof PythonObject) target.listItems = appendTo(target.listItems ?? [], items);
    else if (target instanceof Set && !Object.isFrozen(target)) addTo(target, items, this.keys);
    else throw corrupt(`cannot add to ${describe(target)}`, this);
  }

  setItems(items: readonly TorchValue[]): void {
    const target = this.top();
    if (items.length % 2 !== 0) throw corrupt("a key has no value", this);
    if (target instanceof PythonObject) {
      target.dictItems ??= new Map();
      this.setInto(target.dictItems, items);
    } else if (target instanceof Map) this.setInto(target, items);
    else throw corrupt(`cannot set items of ${describe(target)}`, this);
  }

  private setInto(dict: Map<TorchValue, TorchValue>, items: readonly TorchValue[]): void {
    for (let i = 0; i < items.length; i += 2) {
      const key = placeFloatKey(items[i], dict);
      if (!isHashable(key)) throw corrupt(`${describe(key)} cannot be a key`, this);
      if (Number.isNaN(key) && dict.has(key)) throw secondNaN();
      this.keys.add(key);
      dict.set(key, placeFloat(items[i + 1], dict, key));
    }
  }

  private tooDeep(): UnitcellError {
    const limit = this.limits.pickleStack;
    return new UnitcellError("LIMIT", `the pickle stack holds more than ${limit} values`, { limit });
  }
}

/** What an object that is called stands for, in words: a class inside a class by its own name. */
function calleeName({ type, args }: PythonObject): string {
  const attribute = type === GETATTR && args[0] instanceof PythonGlobal ? attributeName(args) : undefined;
  return attribute ?? `${type}()`;
}

/** What getattr(owner, name) takes, by the name of the class or of the object's class; undefined for other arguments. */
function attributeName(args: readonly TorchValue[]): string | undefined {
  const [owner, name] = args;
  if (args.length !== 2 || typeof name !== "string") return undefined;
  if (owner instanceof PythonGlobal) return `${owner.name}.${name}`;
  return owner instanceof PythonObject ? `${owner.type}.${name}` : undefined;
}

/** A Float as the root has no container to mark: it is its number. */
export function placeRoot(value: TorchValue): TorchValue {
  return value instanceof Float ? value.value : value;
}

/** Freezes items into a tuple. */
export function settleTuple(items: TorchValue[]): readonly TorchValue[] {
  return Object.freeze(settleList(items));
}

/** Items fresh from the stack as a list. */
export function settleList(items: TorchValue[]): TorchValue[] {
  for (let i = 0; i < items.length; i++) if (items[i] instanceof Float) items[i] = placeFloat(items[i], items, i);
  return items;
}

function appendTo(list: TorchValue[], items: readonly TorchValue[]): TorchValue[] {
  for (const item of items) {
    list.push(item);
    if (item instanceof Float) list[list.length - 1] = placeFloat(item, list, list.length - 1);
  }
  return list;
}

/** Members of a set, which Python must be able to hash. */
export function addTo(set: Set<TorchValue>, items: readonly TorchValue[], keys: KeyCount): void {
  for (const item of items) {
    if (!isHashable(item)) throw new UnitcellError("CORRUPT", `malformed pickle: ${describe(item)} cannot be in a set`);
    const member = item instanceof Float ? placeFloat(item, set, item.value) : item;
    if (Number.isNaN(member) && set.has(member)) throw secondNaN();
    keys.add(member);
    set.add(member);
  }
}

/** Python's NaNs are all different, and JavaScript's one key: a value would be lost without a word. */
function secondNaN(): UnitcellError {
  return new UnitcellError("UNSUPPORTED", "NaN is in a dict or set twice; JavaScript's Map and Set hold it once");
}

function isHashable(key: TorchValue): boolean {
  if (typeof key !== "object" || key === null) return true;
  if (key instanceof Map || key instanceof ByteArray) return false;
  return Object.isFrozen(key) || !(Array.isArray(key) || key instanceof Set);
}

export function isTuple(value: TorchValue | undefined): value is readonly TorchValue[] {
  return Array.isArray(value) && Object.isFrozen(value);
}

/** A word for messages; never the value, which may be huge or cyclic. */
export function describe(value: TorchValue | undefined): string {
  if (value === undefined) return "nothing";
  if (value === null) return "None";
  if (Array.isArray(value)) return Object.isFrozen(value) ? "a tuple" : "a list";
  if (value instanceof Map) return "a dict";
  if (value instanceof Set) return "a set";
  if (value instanceof Uint8Array) return "bytes";
  if (value instanceof Float) return "a float";
  if (value instanceof Complex) return "a complex number";
  if (value instanceof PythonGlobal) return `the name ${plainText(value.name)}`;
  if (value instanceof PythonObject) return `an object of ${plainText(value.type)}`;
  if (typeof value === "object") return "data" in value ? "a tensor" : "an object";
  return `a ${typeof value}`;
}

/** Escaped, so that a look-alike letter or a control character cannot pass for the ASCII name. */
export function plainText(name: string): string {
  return name.slice(0, 200).replace(/[^\x20-\x7e]/gu, (c) => `\\u{${c.codePointAt(0)!.toString(16)}}`);
}

export function corrupt(message: string, machine: Machine): UnitcellError {
  const { offset } = machine.reader;
  return new UnitcellError("CORRUPT", `malformed pickle: ${message} (before byte ${offset})`, { offset });
}
