/**
 * A TorchValue as the pickle torch.save would write. Containers are written by generators that hand each nested value
 * to one loop, so depth costs memory and never the call stack. Memo entries, batches and the way recursive values are
 * written follow CPython's pickler (Modules/_pickle.c).
 */
import { UnitcellError } from "../errors.js";
import { numpySteps } from "./numpy-pickler.js";
import { describe, isTuple, Part, pathOf } from "./pickle-path.js";
import { OP, PickleWriter } from "./pickle-writer.js";
import { SavedStorages, type StorageUse } from "./pickled-storages.js";
import { writePythonAtom } from "./python-pickler.js";
import { torchSteps, writeTorchAtom } from "./torch-pickler.js";
import { ByteArray, isFloatAt, isFloatKey, OrderedDict, PythonObject, type TorchValue } from "./values.js";

/** Items per APPENDS or SETITEMS. */
const BATCH = 1000;

/** Writes one value, and yields each value inside it that has an inside of its own. */
export type Steps = Generator<TorchValue, void, void>;

const KEYS = new Part(".keys()");
const ATTRIBUTES = new Part(".attributes");
const STATE = new Part(".state");
const CALLEE = new Part(".callee");

interface Frame {
  readonly steps: Steps;
  /** Where in the container the value being written is: an index, a key, a Part. */
  place: unknown;
}

export class Pickler {
  readonly out = new PickleWriter();
  readonly storages: SavedStorages;
  /** Memo indices of objects already written, by identity. */
  private readonly memo = new Map<object, number>();
  /** Memo indices of values torch has one object of, by name. */
  private readonly singletons = new Map<string, number>();
  /** For objects that enter the memo after their contents: the memo's size when their contents were begun. */
  private readonly begun = new Map<object, number>();
  private readonly frames: Frame[] = [];

  /** @param use checks each storage when it is first referred to */
  constructor(use: StorageUse) {
    this.storages = new SavedStorages(use);
  }

  /** The pickle of one value. */
  dump(root: TorchValue): Uint8Array {
    const { frames } = this;
    if (!this.writeAtom(root, false)) frames.push({ steps: this.steps(root), place: undefined });
    while (frames.length > 0) {
      const next = frames[frames.length - 1].steps.next();
      if (next.done) frames.pop();
      else frames.push({ steps: this.steps(next.value), place: undefined });
    }
    return this.out.finish();
  }

  /**
   * Writes a value at a place of a container when it has no inside, or was written before.
   * @returns false when it must be yielded instead
   */
  atom(value: TorchValue, container: object, place: unknown): boolean {
    this.at(place);
    return this.writeAtom(value, Number.isInteger(value) && isFloatAt(container, place));
  }

  /** Says where the next values come from, for messages. */
  at(place: unknown): void {
    const frame = this.frames[this.frames.length - 1];
    if (frame) frame.place = place;
  }

  private key(key: TorchValue, container: object): boolean {
    this.at(KEYS);
    if (isUnhashable(key)) this.fail(`Python cannot hash ${describe(key)}`);
    return this.writeAtom(key, Number.isInteger(key) && isFloatKey(container, key));
  }

  private writeAtom(value: TorchValue, isFloat: boolean): boolean {
    const { out } = this;
    if (typeof value === "string") out.string(value);
    else if (typeof value === "number") this.number(value, isFloat);
    else if (typeof value === "boolean") out.bool(value);
    else if (value === null) out.op(OP.NONE);
    else if (typeof value === "bigint") out.int(value);
    else if (typeof value !== "object") this.fail(`${describe(value)} has no Python counterpart`);
    else return this.recall(value) || writePythonAtom(this, value) || writeTorchAtom(this, value);
    return true;
  }

  private number(value: number, isFloat: boolean): void {
    const isInt = Number.isInteger(value) && Math.abs(value) <= 2 ** 53 && !Object.is(value, -0);
    if (isInt && !isFloat) this.out.int(value);
    else this.out.float(value);
  }

  private steps(value: TorchValue): Steps {
    if (Array.isArray(value)) return isTuple(value) ? this.tuple(value) : this.list(value);
    if (value instanceof OrderedDict) return this.orderedDict(value);
    if (value instanceof Map) return this.dict(value);
    if (value instanceof Set) return this.set(value);
    if (value instanceof PythonObject) return this.object(value);
    const steps = torchSteps(this, value) ?? numpySteps(this, value);
    return steps ?? this.fail(`${describe(value)} has no Python counterpart`);
  }

  private *list(list: readonly TorchValue[]): Steps {
    this.out.op(OP.EMPTY_LIST);
    this.remember(list);
    yield* this.appends(list, true);
  }

  /**
   * Appends items to the list on top of the stack.
   * @param exact a plain list; of a subclass's items, which come one by one, a last batch of one is an APPEND too
   * @param container where float places are kept, if not in items: a Set keeps them by member
   */
  *appends(items: readonly TorchValue[], exact: boolean, container: object = items): Steps {
    const { out } = this;
    const count = items.length;
    for (let at = 0; at < count; at += BATCH) {
      const end = Math.min(at + BATCH, count);
      const alone = exact ? count === 1 : end - at === 1;
      if (!alone) out.op(OP.MARK);
      for (let i = at; i < end; i++)
        if (!this.atom(items[i], container, container === items ? i : items[i])) yield items[i];
      out.op(alone ? OP.APPEND : OP.APPENDS);
    }
  }

  private *dict(dict: ReadonlyMap<TorchValue, TorchValue>): Steps {
    this.out.op(OP.EMPTY_DICT);
    this.remember(dict);
    yield* this.setItems(dict, true);
  }

  private *setItems(dict: ReadonlyMap<TorchValue, TorchValue>, exact: boolean): Steps {
    const { out } = this;
    const { size } = dict;
    let done = 0;
    for (const [key, value] of dict) {
      const begins = done % BATCH === 0;
      const alone = exact ? size === 1 : begins && size - done === 1;
      if (begins && !alone) out.op(OP.MARK);
      if (!this.key(key, dict)) yield key;
      if (!this.atom(value, dict, key)) yield value;
      done++;
      if (alone) out.op(OP.SETITEM);
      else if (done % BATCH === 0 || done === size) out.op(OP.SETITEMS);
    }
    // The C pickler looks for more items of a plain dict after every full batch.
    if (exact && size > 0 && size % BATCH === 0) {
      out.op(OP.MARK);
      out.op(OP.SETITEMS);
    }
  }

  private *orderedDict(dict: OrderedDict): Steps {
    const { out } = this;
    out.global("collections.OrderedDict");
    out.op(OP.EMPTY_TUPLE);
    this.reduce(dict);
    yield* this.setItems(dict, false);
    if (dict.attributes === undefined) return;
    if (!this.atom(dict.attributes, dict, ATTRIBUTES)) yield dict.attributes;
    out.op(OP.BUILD);
  }

  private *tuple(tuple: readonly TorchValue[]): Steps {
    const { out } = this;
    const count = tuple.length;
    this.begin(tuple);
    if (count > 3) out.op(OP.MARK);
    for (let i = 0; i < count; i++) if (!this.atom(tuple[i], tuple, i)) yield tuple[i];
    if (this.memo.has(tuple)) {
      // Its own contents held it: drop what lies on the stack for the tuple that they finished.
      for (let i = 0; i < count && count <= 3; i++) out.op(OP.POP);
      if (count > 3) out.op(OP.POP_MARK);
      this.recall(tuple);
      return;
    }
    out.tuple(count);
    this.remember(tuple);
  }

  /** A tuple that no other value refers to: arguments, states. */
  *newTuple(items: readonly TorchValue[]): Steps {
    const { out } = this;
    if (items.length > 3) out.op(OP.MARK);
    for (let i = 0; i < items.length; i++) if (!this.atom(items[i], items, i)) yield items[i];
    out.tuple(items.length);
    if (items.length > 0) out.put();
  }

  private *set(set: ReadonlySet<TorchValue>): Steps {
    const { out } = this;
    this.begin(set);
    out.global(Object.isFrozen(set) ? "builtins.frozenset" : "builtins.set");
    out.op(OP.EMPTY_LIST);
    out.put();
    const members = [...set];
    const unhashable = members.find(isUnhashable);
    if (unhashable !== undefined) this.fail(`a set holds ${describe(unhashable)}, which Python cannot hash`);
    yield* this.appends(members, true, set);
    out.tuple(1);
    out.put();
    this.reduce(set);
  }

  private *object(object: PythonObject): Steps {
    const { out } = this;
    const { type, how, args, kwargs, callee, state, listItems, dictItems } = object;
    if (how === "persid") this.fail("an external reference has no meaning in another file");
    this.begin(object);
    if (how === "inst" || how === "obj") {
      out.op(OP.MARK);
      if (how === "obj" && !this.callee(object)) yield callee!;
      for (let i = 0; i < args.length; i++) if (!this.atom(args[i], args, i)) yield args[i];
      out.op(how === "obj" ? OP.OBJ : OP.INST);
      if (how === "inst") out.name(type);
    } else {
      if (!this.callee(object)) yield callee!;
      yield* this.newTuple(args);
      // NEWOBJ_EX is of protocol 4, but Python reads it at any; CPython would write functools.partial here.
      if (how === "newobj_ex") yield* this.dict(kwargs ?? new Map());
      out.op(how === "reduce" ? OP.REDUCE : how === "newobj" ? OP.NEWOBJ : OP.NEWOBJ_EX);
    }
    if (!this.made(object)) return;
    if (listItems) yield* this.appends(listItems, false);
    if (dictItems) yield* this.setItems(dictItems, false);
    if (state === undefined) return;
    this.at(STATE);
    if (!this.writeAtom(state, isFloatAt(object, "state"))) yield state;
    out.op(OP.BUILD);
  }

  /** Writes what made an object; false when that must be yielded first. */
  private callee(object: PythonObject): boolean {
    if (object.callee) return this.atom(object.callee, object, CALLEE);
    this.out.global(object.type);
    return true;
  }

  /** REDUCE, which makes the object. */
  reduce(object: object): void {
    this.out.op(OP.REDUCE);
    this.made(object);
  }

  /** Puts the object on top of the stack in the memo; false when its own contents had done so, which then is the one. */
  made(object: object): boolean {
    if (!this.memo.has(object)) {
      this.remember(object);
      return true;
    }
    this.out.op(OP.POP);
    this.recall(object);
    return false;
  }

  remember(object: object): void {
    this.memo.set(object, this.out.put());
  }

  /** Refers to an object written before; false when there is none. */
  private recall(object: object): boolean {
    const index = this.memo.get(object);
    if (index === undefined) return false;
    this.out.get(index);
    return true;
  }

  /** Writes a value of which torch has one object per name, or refers to it. */
  singleton(name: string, write: () => void): void {
    const known = this.singletons.get(name);
    if (known !== undefined) this.out.get(known);
    else {
      write();
      this.singletons.set(name, this.out.put());
    }
  }

  /**
   * Called before the contents of an object that enters the memo only after them. Contents may lead back to it through
   * a list or dict, which is then in the memo; when nothing new is, they lead back to it for ever.
   */
  begin(object: object): void {
    if (this.begun.get(object) === this.memo.size) this.fail(`${describe(object)} contains itself`);
    this.begun.set(object, this.memo.size);
  }

  /** @throws {UnitcellError} ARGUMENT, always */
  fail(message: string): never {
    const path = pathOf(this.frames.map(({ place }) => place));
    throw new UnitcellError("ARGUMENT", `cannot save ${path}: ${message}`, { path });
  }
}

/** Python's dict keys and set members must not change. */
function isUnhashable(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  if (Array.isArray(value)) return !isTuple(value);
  return value instanceof Map || value instanceof ByteArray || (value instanceof Set && !Object.isFrozen(value));
}
