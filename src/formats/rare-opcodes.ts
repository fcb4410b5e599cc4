/**
 * The opcodes that torch.save does not use: the text protocol's, Python 2's strings, bytes, sets, classes made in old and
 * new ways, and those that are refused. Source: CPython's Lib/pickletools.py.
 */
import { UnitcellError } from "../errors.js";
import { opcodeTable, pushFloat } from "./pickle.js";
import { corrupt, describe, type Machine, type OpcodeRow, settleList, settleTuple } from "./pickle-machine.js";
import { readNameLine, readText } from "./pickle-scalars.js";
import {
  decodePython2,
  readFloatLine,
  readIndexLine,
  readIntLine,
  readLong4,
  readLongLine,
  readStringLine,
  readUnicodeLine,
} from "./pickle-text.js";
import { ByteArray, type TorchValue } from "./values.js";

/** Order: as in pickletools, by kind. */
export const RARE_ROWS: readonly OpcodeRow[] = [
  [0x49, "INT", (m) => m.push(readIntLine(m.reader, m.limits))],
  [0x4c, "LONG", (m) => m.push(readLongLine(m.reader, m.limits))],
  [0x8b, "LONG4", (m) => m.push(readLong4(m.reader, m.limits))],
  [0x46, "FLOAT", (m) => pushFloat(m, readFloatLine(m.reader))],
  [0x53, "STRING", (m) => m.push(readStringLine(m.reader))],
  [0x54, "BINSTRING", (m) => m.push(decodePython2(m.reader.take(m.reader.i32())))],
  [0x55, "SHORT_BINSTRING", (m) => m.push(decodePython2(m.reader.take(m.reader.u8())))],
  [0x56, "UNICODE", (m) => m.push(readUnicodeLine(m.reader))],
  [0x8d, "BINUNICODE8", (m) => m.push(readText(m.reader, m.reader.u64()))],
  [0x42, "BINBYTES", (m) => m.push(m.reader.take(m.reader.u32()))],
  [0x43, "SHORT_BINBYTES", (m) => m.push(m.reader.take(m.reader.u8()))],
  [0x8e, "BINBYTES8", (m) => m.push(m.reader.take(m.reader.u64()))],
  [0x96, "BYTEARRAY8", (m) => m.push(ByteArray.from(m.reader.take(m.reader.u64())))],
  [0x97, "NEXT_BUFFER", refuseBuffer],
  [0x98, "READONLY_BUFFER", refuseBuffer],
  [0x6c, "LIST", (m) => m.push(settleList(m.popMark()))],
  [0x64, "DICT", (m) => newDict(m)],
  [0x8f, "EMPTY_SET", (m) => m.push(new Set<TorchValue>())],
  [0x90, "ADDITEMS", (m) => m.add(m.popMark())],
  [0x91, "FROZENSET", frozenSet],
  [0x30, "POP", (m) => m.popOrUnmark()],
  [0x31, "POP_MARK", (m) => void m.popMark()],
  [0x32, "DUP", (m) => m.push(m.top())],
  [0x67, "GET", (m) => m.recall(readIndexLine(m.reader))],
  [0x70, "PUT", (m) => m.remember(readIndexLine(m.reader))],
  [0x92, "NEWOBJ_EX", newObjectEx],
  [0x69, "INST", inst],
  [0x6f, "OBJ", obj],
  [0x50, "PERSID", (m) => m.persistentId(readNameLine(m.reader))],
  [0x82, "EXT1", refuseExtension],
  [0x83, "EXT2", refuseExtension],
  [0x84, "EXT4", refuseExtension],
];

export const RARE_OPCODES = opcodeTable(RARE_ROWS);

function newDict(m: Machine): void {
  const items = m.popMark();
  m.push(new Map());
  m.setItems(items);
}

function frozenSet(m: Machine): void {
  const items = m.popMark();
  const set = new Set<TorchValue>();
  m.push(set);
  m.add(items);
  Object.freeze(set);
}

function newObjectEx(m: Machine): void {
  const kwargs = m.pop();
  const args = m.pop();
  if (!(kwargs instanceof Map)) throw corrupt(`keyword arguments are ${describe(kwargs)}`, m);
  m.create(m.pop(), args, "newobj_ex", kwargs.size === 0 ? undefined : kwargs);
}

function inst(m: Machine): void {
  const args = settleTuple(m.popMark());
  m.global(readNameLine(m.reader), readNameLine(m.reader));
  m.create(m.pop(), args, "inst");
}

function obj(m: Machine): void {
  const [type, ...args] = m.popMark();
  if (type === undefined) throw corrupt("OBJ without a class", m);
  m.create(type, settleTuple(args), "obj");
}

function refuseBuffer(m: Machine): void {
  throw corrupt("it refers to buffers outside the file", m);
}

/** EXT codes are numbers for names in the reading program's own registry. */
function refuseExtension(m: Machine): void {
  throw new UnitcellError("UNSAFE", `the pickle names code by an extension number (byte ${m.reader.offset - 1})`, {
    globals: [...m.unknown],
    offset: m.reader.offset - 1,
  });
}
