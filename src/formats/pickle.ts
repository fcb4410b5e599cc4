/**
 * Just enough of a pickle machine to read data: protocols 0 to 5, one table row per opcode, no recursion.
 * Nothing a file names is ever run or imported. A name on the caller's closed list makes a value of ours; any other
 * becomes an inert PythonGlobal or PythonObject and is reported, so that the caller can refuse the file.
 * Source: CPython's Lib/pickletools.py and Lib/pickle.py.
 */
import { ByteReader } from "../bytes.js";
import { isUnitcellError, UnitcellError } from "../errors.js";
import {
  corrupt,
  Machine,
  type Opcode,
  type OpcodeRow,
  type OpcodeTable,
  type PickleContext,
  placeRoot,
  plainText,
  RareNeeded,
  settleTuple,
} from "./pickle-machine.js";
import { readLong1, readNameLine, readText } from "./pickle-scalars.js";
import { Float, PythonObject, type TorchValue } from "./values.js";

export type { PickleClass, PickleContext } from "./pickle-machine.js";

/** The names of a file's pickles, as written there, in order of first appearance. */
export class NamesFound {
  readonly globals = new Set<string>();
  /** Those outside the closed list. */
  readonly unknown = new Set<string>();
  /** Opcodes of all pickles that were only scanned. */
  scanned = 0;

  add({ globals, unknown }: Machine): void {
    for (const name of globals) this.globals.add(name);
    for (const name of unknown) this.unknown.add(name);
  }

  /** @throws {UnitcellError} UNSAFE when a name is outside the closed list */
  refuseUnknown(cause?: unknown): void {
    if (this.unknown.size === 0) return;
    const globals = [...this.unknown];
    const shown = globals.slice(0, 8).map(plainText).join(", ");
    const more = globals.length > 8 ? ` and ${globals.length - 8} more` : "";
    // A damaged file cannot be read in any way.
    const advice =
      cause instanceof Error
        ? `, and it cannot be read: ${cause.message}`
        : '; unknownClasses: "inert" reads it as objects that do nothing';
    throw new UnitcellError(
      "UNSAFE",
      `the file names code that is not plain data: ${shown}${more}; nothing was run${advice}`,
      { globals },
      cause === undefined ? undefined : { cause },
    );
  }
}

/**
 * Read one pickle; the reader is left after its STOP. Names are added to `found`, also when the pickle breaks: in Python
 * they would already have run by then.
 * @param entry the part of a file it is, for messages
 * @throws {UnitcellError} CORRUPT when it is malformed, LIMIT beyond a pickle limit, UNSUPPORTED for protocols above 5,
 *   UNSAFE for extension codes, which are names in the reading program; and RareNeeded
 */
export function readPickle(reader: ByteReader, context: PickleContext, found: NamesFound, entry?: string): TorchValue {
  const machine = new Machine(reader, context);
  try {
    return run(machine);
  } catch (error) {
    throw isUnitcellError(error) ? located(error, reader.offset, entry) : error;
  } finally {
    found.add(machine);
  }
}

/** The error with the place where it came up: most are of values, which know none. */
function located(error: UnitcellError, offset: number, entry: string | undefined): UnitcellError {
  const { code, message, detail } = error;
  const place = detail.offset === undefined ? ` (before byte ${offset})` : "";
  return new UnitcellError(
    code,
    `${entry === undefined ? "" : `${entry}: `}${message}${place}`,
    { offset, ...(entry !== undefined && { name: entry }), ...detail },
    { cause: error },
  );
}

/**
 * Collect the names of the pickles in these bytes, making nothing of them, up to where Python would stop too; what
 * follows them is of no interest.
 * @throws {UnitcellError} LIMIT beyond a pickle limit (pickleOps is for all scans of a file together), UNSAFE as readPickle
 */
export function scanPickles(bytes: Uint8Array, context: PickleContext, found: NamesFound): void {
  const reader = new ByteReader(bytes);
  const { classes, isInert } = context;
  // What a listed name makes can be malformed where Python would go on: here all of them make inert objects.
  const inert: PickleContext = {
    ...context,
    classes: new Map(),
    isInert: (name) => classes.has(name) || isInert(name),
    persistentId: (id) => new PythonObject("persistent", "persid", [id]),
  };
  while (reader.remaining > 0) {
    const machine = new Machine(reader, inert);
    machine.opcodes = found.scanned;
    try {
      run(machine);
    } catch (error) {
      if (isUnitcellError(error, "CORRUPT") || isUnitcellError(error, "UNSUPPORTED")) return;
      throw error;
    } finally {
      found.add(machine);
      found.scanned = machine.opcodes;
    }
  }
}

function rareOpcodes({ context }: Machine): OpcodeTable {
  if (!context.rareOpcodes) throw new RareNeeded();
  return context.rareOpcodes;
}

function run(machine: Machine): TorchValue {
  const { reader, limits } = machine;
  while (machine.opcodes++ < limits.pickleOps) {
    const code = reader.u8();
    if (code === STOP) return placeRoot(machine.pop());
    const row = OPCODES[code] ?? rareOpcodes(machine)[code];
    if (!row)
      throw corrupt(`there is no opcode 0x${code.toString(16).padStart(2, "0")} (byte ${reader.offset - 1})`, machine);
    row(machine);
  }
  throw new UnitcellError("LIMIT", `the pickle has more than ${limits.pickleOps} opcodes`, { limit: limits.pickleOps });
}

export const STOP = 0x2e;

/** The opcodes that torch.save uses, by their bytes; the others are rare-opcodes.ts. Order: as in pickletools, by kind. */
export const ROWS: readonly OpcodeRow[] = [
  [0x4a, "BININT", (m) => m.push(m.reader.i32())],
  [0x4b, "BININT1", (m) => m.push(m.reader.u8())],
  [0x4d, "BININT2", (m) => m.push(m.reader.u16())],
  [0x8a, "LONG1", (m) => m.push(readLong1(m.reader, m.limits))],
  [0x47, "BINFLOAT", (m) => pushFloat(m, m.reader.f64(false))],
  [0x4e, "NONE", (m) => m.push(null)],
  [0x88, "NEWTRUE", (m) => m.push(true)],
  [0x89, "NEWFALSE", (m) => m.push(false)],
  [0x58, "BINUNICODE", (m) => m.push(readText(m.reader, m.reader.u32()))],
  [0x8c, "SHORT_BINUNICODE", (m) => m.push(readText(m.reader, m.reader.u8()))],
  [0x28, "MARK", (m) => m.mark()],
  [0x29, "EMPTY_TUPLE", (m) => m.popTuple(0)],
  [0x85, "TUPLE1", (m) => m.popTuple(1)],
  [0x86, "TUPLE2", (m) => m.popTuple(2)],
  [0x87, "TUPLE3", (m) => m.popTuple(3)],
  [0x74, "TUPLE", (m) => m.push(settleTuple(m.popMark()))],
  [0x5d, "EMPTY_LIST", (m) => m.push([])],
  [0x61, "APPEND", (m) => appendOne(m)],
  [0x65, "APPENDS", (m) => m.append(m.popMark())],
  [0x7d, "EMPTY_DICT", (m) => m.push(new Map())],
  [0x73, "SETITEM", (m) => setOne(m)],
  [0x75, "SETITEMS", (m) => m.setItems(m.popMark())],
  [0x68, "BINGET", (m) => m.recall(m.reader.u8())],
  [0x6a, "LONG_BINGET", (m) => m.recall(m.reader.u32())],
  [0x71, "BINPUT", (m) => m.remember(m.reader.u8())],
  [0x72, "LONG_BINPUT", (m) => m.remember(m.reader.u32())],
  [0x94, "MEMOIZE", (m) => m.remember(m.memo.size)],
  [0x63, "GLOBAL", (m) => m.global(readNameLine(m.reader), readNameLine(m.reader))],
  [0x93, "STACK_GLOBAL", stackGlobal],
  [0x52, "REDUCE", (m) => create(m, "reduce")],
  [0x81, "NEWOBJ", (m) => create(m, "newobj")],
  [0x62, "BUILD", (m) => m.build(m.pop())],
  [0x51, "BINPERSID", (m) => m.persistentId(m.pop())],
  [0x80, "PROTO", checkProtocol],
  [0x95, "FRAME", checkFrame],
];

const OPCODES = opcodeTable(ROWS);

/** Rows by their bytes. */
export function opcodeTable(rows: readonly OpcodeRow[]): OpcodeTable {
  const table = new Array<Opcode | undefined>(256).fill(undefined);
  for (const [code, , run] of rows) table[code] = run;
  return table;
}

function appendOne(m: Machine): void {
  const item = m.pop();
  m.append([item]);
}

function setOne(m: Machine): void {
  const value = m.pop();
  const key = m.pop();
  m.setItems([key, value]);
}

function stackGlobal(m: Machine): void {
  const name = m.pop();
  m.global(m.pop(), name);
}

/** Whole floats carry their type until a container remembers it for them. */
export function pushFloat(m: Machine, value: number): void {
  m.push(Number.isInteger(value) ? new Float(value) : value);
}

/** REDUCE and NEWOBJ differ in what Python calls; here both make the same value. */
function create(m: Machine, how: "reduce" | "newobj"): void {
  const args = m.pop();
  m.create(m.pop(), args, how);
}

function checkProtocol(m: Machine): void {
  const protocol = m.reader.u8();
  if (protocol > 5)
    throw new UnitcellError("UNSUPPORTED", `pickle protocol ${protocol}; protocols 0 to 5 are known`, { protocol });
}

/** A frame only helps readers of streams; its length still has to be true. */
function checkFrame(m: Machine): void {
  const length = m.reader.u64();
  if (length > m.reader.remaining) throw corrupt(`a frame of ${length} bytes where ${m.reader.remaining} are left`, m);
}
