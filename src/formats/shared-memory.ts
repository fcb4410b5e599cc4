/** Which tensors of a collection lie over the same memory. */
import { DTYPE_BYTES, type Tensor } from "../tensor.js";
import { extent, TorchTensor } from "./torch-tensors.js";

interface Range {
  /** Place in the collection. */
  readonly order: number;
  readonly start: number;
  readonly end: number;
}

/**
 * Names of tensors whose bytes overlap those of an earlier one, each with the first tensor of its group: overlap is by
 * range, from the first to the last byte that a view reaches, and groups are joined by it. Empty tensors share nothing.
 */
export function findShared(tensors: ReadonlyMap<string, Tensor>): Map<string, string> {
  const names = [...tensors.keys()];
  const first = new Map<number, number>();
  for (const ranges of rangesByMemory(tensors).values())
    for (const group of overlapping(ranges)) {
      const [original, ...others] = group.sort((a, b) => a - b);
      for (const order of others) first.set(order, original);
    }
  const shared = [...first].sort(([a], [b]) => a - b);
  return new Map(shared.map(([order, original]) => [names[order], names[original]]));
}

/** Names of tensors that are the same view of the same memory as an earlier one, whose name is given: tied weights. */
export function findTied(tensors: ReadonlyMap<string, Tensor>): Map<string, string> {
  const memories = new Map<ArrayBufferLike, Map<string, string>>();
  const tied = new Map<string, string>();
  for (const [name, { dtype, shape, data }] of tensors) {
    if (data.byteLength === 0) continue;
    const views = memories.get(data.buffer) ?? new Map<string, string>();
    memories.set(data.buffer, views);
    const view = `${dtype} ${data.byteOffset} ${shape}`;
    const first = views.get(view);
    if (first === undefined) views.set(view, name);
    else tied.set(name, first);
  }
  return tied;
}

function rangesByMemory(tensors: ReadonlyMap<string, Tensor>): Map<object, Range[]> {
  const memories = new Map<object, Range[]>();
  let order = 0;
  for (const tensor of tensors.values()) {
    const { memory, start, end } = place(tensor);
    const range = { order: order++, start, end };
    if (end <= start) continue;
    const known = memories.get(memory);
    if (known) known.push(range);
    else memories.set(memory, [range]);
  }
  return memories;
}

/** Where a tensor's bytes are: a stretch of an ArrayBuffer, of a storage while that is not loaded. */
function place(tensor: Tensor): { memory: object; start: number; end: number } {
  if (!(tensor instanceof TorchTensor && tensor.storage)) {
    const { buffer, byteOffset, byteLength } = tensor.data;
    return { memory: buffer, start: byteOffset, end: byteOffset + byteLength };
  }
  const { dtype, shape, strides, offset, storage } = tensor;
  const start = (storage.bytes?.byteOffset ?? 0) + offset * DTYPE_BYTES[dtype];
  return { memory: storage.bytes?.buffer ?? storage, start, end: start + extent(shape, strides) * DTYPE_BYTES[dtype] };
}

/** Places of the ranges that hang together, group by group; those that stand alone too. */
function overlapping(ranges: Range[]): number[][] {
  const groups: number[][] = [];
  let end = 0;
  for (const range of ranges.sort((a, b) => a.start - b.start)) {
    if (groups.length === 0 || range.start >= end) groups.push([]);
    groups[groups.length - 1].push(range.order);
    end = Math.max(end, range.end);
  }
  return groups;
}
