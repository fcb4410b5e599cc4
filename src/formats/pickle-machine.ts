/**
 * The state of the pickle machine: stack, marks, memo, and the rules for what may be made, built and appended to.
 * The opcodes that drive it are the table in pickle.ts.
 */
import { type ByteReader, MAX_PICKLE_STACK } from "../bytes.js";
import { UnitcellError } from "../errors.js";

/** dict -> Map, list and set -> array, tuple and frozenset -> frozen array, bytes -> Uint8Array; else what a PickleClass made. */
export type PickleValue = null | boolean | number | bigint | string | object;

/** What an allowed name stands for: code of ours, chosen by the caller, never by the file. */
export class PickleClass {
  readonly name: string;
  /** REDUCE, NEWOBJ, INST, OBJ: a value from arguments. */
  readonly create: ((args: readonly PickleValue[]) => PickleValue) | undefined;
  /** BUILD: takes state into a value that `create` made. */
  readonly build: ((target: PickleValue, state: PickleValue) => void) | undefined;

  constructor(name: string, create?: PickleClass["create"], build?: PickleClass["build"]) {
    this.name = name;
    this.create = create;
    this.build = build;
  }
}

export interface PickleContext {
  /** Whole names, "module.name", to a PickleClass or to a plain value (a dtype). Nothing else resolves. */
  readonly globals: ReadonlyMap<string, PickleValue>;
  /** Turns a persistent id into a value; without it, ids are CORRUPT. */
  readonly persistentId?: (id: PickleValue) => PickleValue;
}

/** A name outside the list, and everything made from it. */
export class Unknown {
  readonly name: string;
  constructor(name: string) {
    this.name = name;
  }
}

/** Stack, marks and memo. Values below the last mark are out of reach of `pop`, as in CPython. */
export class Machine {
  readonly reader: ByteReader;
  readonly context: PickleContext;
  /** Keys up to 2^32 - 1 are legal, so an array would be a bomb. */
  readonly memo = new Map<number, PickleValue>();
  readonly unknown = new Set<string>();
  private readonly stack: PickleValue[] = [];
  private readonly marks: number[] = [];
  private readonly makers = new Map<object, PickleClass>();

  constructor(reader: ByteReader, context: PickleContext) {
    this.reader = reader;
    this.context = context;
  }

  push(value: PickleValue): void {
    this.stack.push(value);
    if (this.stack.length > MAX_PICKLE_STACK) throw tooDeep();
  }

  pop(): PickleValue {
    const top = this.top();
    this.stack.pop();
    return top;
  }

  top(): PickleValue {
    if (this.stack.length <= (this.marks.at(-1) ?? 0)) throw corrupt("the stack is empty", this);
    return this.stack[this.stack.length - 1];
  }

  mark(): void {
    this.marks.push(this.stack.length);
    if (this.marks.length > MAX_PICKLE_STACK) throw tooDeep();
  }

  /** Everything above the last mark; the mark goes too. */
  popMark(): PickleValue[] {
    const mark = this.marks.pop();
    if (mark === undefined) throw corrupt("an opcode needs a MARK and there is none", this);
    return this.stack.splice(mark);
  }

  /** POP removes a mark when one is on top. */
  popOrUnmark(): void {
    if (this.marks.length > 0 && this.marks.at(-1) === this.stack.length) this.marks.pop();
    else this.pop();
  }

  tuple(count: number): void {
    const from = this.stack.length - count;
    if (from < (this.marks.at(-1) ?? 0)) throw corrupt("the stack is empty", this);
    this.push(Object.freeze(this.stack.splice(from)));
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
  global(module: PickleValue, name: PickleValue): void {
    if (typeof module !== "string" || typeof name !== "string")
      throw corrupt("a global's module and name must be strings", this);
    const full = `${module}.${name}`;
    const known = name.includes(".") ? undefined : this.context.globals.get(full);
    if (known === undefined) this.unknown.add(full);
    this.push(known ?? new Unknown(full));
  }

  create(type: PickleValue, args: PickleValue): void {
    if (type instanceof Unknown) {
      this.push(type);
      return;
    }
    if (!(type instanceof PickleClass) || !type.create) throw corrupt(`${describe(type)} cannot be called`, this);
    if (!isTuple(args)) throw corrupt(`${type.name} needs a tuple of arguments, found ${describe(args)}`, this);
    // What an unknown name stands for is never given to our code; the pickle is refused at its end anyway.
    const tainted = args.find((arg) => arg instanceof Unknown);
    const value = tainted ?? type.create(args);
    if (type.build) this.makers.set(value as object, type);
    this.push(value);
  }

  build(state: PickleValue): void {
    const target = this.top();
    if (target instanceof Unknown || state instanceof Unknown) return;
    const build = this.makers.get(target as object)?.build;
    if (!build) throw corrupt(`${describe(target)} takes no state`, this);
    build(target, state);
  }

  persistentId(id: PickleValue): void {
    if (!this.context.persistentId) throw corrupt("a persistent id where none is expected", this);
    this.push(id instanceof Unknown ? id : this.context.persistentId(id));
  }

  append(items: readonly PickleValue[]): void {
    const list = this.top();
    if (list instanceof Unknown) return;
    if (!Array.isArray(list) || Object.isFrozen(list)) throw corrupt(`cannot append to ${describe(list)}`, this);
    for (const item of items) list.push(item);
  }

  setItems(items: readonly PickleValue[]): void {
    const dict = this.top();
    if (dict instanceof Unknown) return;
    if (!(dict instanceof Map)) throw corrupt(`cannot set items of ${describe(dict)}`, this);
    if (items.length % 2 !== 0) throw corrupt("a key has no value", this);
    for (let i = 0; i < items.length; i += 2) {
      const key = items[i];
      if (key instanceof Map || (Array.isArray(key) && !Object.isFrozen(key)))
        throw corrupt(`${describe(key)} cannot be a key`, this);
      dict.set(key, items[i + 1]);
    }
  }
}

function isTuple(value: PickleValue): value is readonly PickleValue[] {
  return Array.isArray(value) && Object.isFrozen(value);
}

/** A word for messages; never the value, which may be huge or cyclic. */
export function describe(value: PickleValue): string {
  if (value === null) return "None";
  if (Array.isArray(value)) return Object.isFrozen(value) ? "a tuple" : "a list";
  if (value instanceof Map) return "a dict";
  if (value instanceof Uint8Array) return "bytes";
  if (value instanceof PickleClass) return `the name ${value.name}`;
  return typeof value === "object" ? "an object" : `a ${typeof value}`;
}

function tooDeep(): UnitcellError {
  return new UnitcellError("LIMIT", `the pickle stack holds more than ${MAX_PICKLE_STACK} values`, {
    limit: MAX_PICKLE_STACK,
  });
}

export function corrupt(message: string, machine: Machine): UnitcellError {
  const { offset } = machine.reader;
  return new UnitcellError("CORRUPT", `malformed pickle: ${message} (before byte ${offset})`, { offset });
}
