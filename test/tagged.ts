/**
 * Compares a loaded value with the tagged JSON of the shared torch corpus (its README explains the tags). Throws with
 * the path of the first difference.
 */
import { createHash } from "node:crypto";
import * as assert from "uvu/assert";
import type { TorchValue } from "../src/formats/torch.js";
import type { DType, Tensor } from "../src/tensor.js";

export interface TaggedTensor {
  dtype: string;
  shape: number[];
  sha256: string;
}

interface TaggedObject {
  k: string;
  id?: number;
  i?: number;
  v?: string;
  bits?: string;
  hex?: string;
  sha256?: string;
  sha256_raw?: string;
  dtype?: string;
  shape?: number[];
  fortran?: boolean;
  items?: Tagged[] | [Tagged, Tagged][];
  class?: string;
  args?: Tagged[];
  state?: Tagged;
}

export type Tagged = null | boolean | string | TaggedObject;

const DTYPE_NAMES: Readonly<Record<string, DType>> = {
  float64: "f64",
  float32: "f32",
  float16: "f16",
  bfloat16: "bf16",
  int64: "i64",
  int32: "i32",
  int16: "i16",
  int8: "i8",
  uint8: "u8",
  bool: "bool",
};

export function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** One comparison: remembers which tensors and shared containers were seen, so that identity is checked too. */
export class TaggedComparison {
  private readonly tensors: readonly TaggedTensor[];
  private readonly seenTensors = new Map<number, TorchValue>();
  private readonly seenIds = new Map<number, TorchValue>();

  constructor(tensors: readonly TaggedTensor[]) {
    this.tensors = tensors;
  }

  same(node: Tagged, value: TorchValue, path = "root"): void {
    if (node === null || typeof node !== "object") {
      assert.is(value, node, path);
      return;
    }
    if (node.id !== undefined && node.k !== "ref") this.seenIds.set(node.id, value);
    const compare = COMPARE[node.k];
    assert.ok(compare, `${path}: no comparison for ${node.k} ${node.class ?? ""}`);
    compare(this, node, value, path);
  }

  all(nodes: readonly Tagged[], value: TorchValue, path: string): void {
    assert.ok(Array.isArray(value), `${path} is an array`);
    const list = value as readonly TorchValue[];
    assert.is(list.length, nodes.length, `${path} length`);
    for (const [i, node] of nodes.entries()) this.same(node, list[i], `${path}[${i}]`);
  }

  dict(pairs: readonly [Tagged, Tagged][], value: TorchValue, path: string): void {
    assert.instance(value, Map, path);
    const entries = [...(value as Map<TorchValue, TorchValue>)];
    assert.is(entries.length, pairs.length, `${path} size`);
    for (const [i, [key, item]] of pairs.entries()) {
      this.same(key, entries[i][0], `${path} key ${i}`);
      this.same(item, entries[i][1], `${path}[${JSON.stringify(key)}]`);
    }
  }

  /** Sets have no order: every member must be equal to one of the values. */
  set(nodes: readonly Tagged[], value: TorchValue, path: string): void {
    const rest = [...(value as readonly TorchValue[])];
    assert.is(rest.length, nodes.length, `${path} size`);
    for (const node of nodes) {
      const at = rest.findIndex((item) => this.equal(node, item));
      assert.ok(at >= 0, `${path} has ${JSON.stringify(node)}`);
      rest.splice(at, 1);
    }
  }

  tensor(index: number, value: TorchValue, path: string): void {
    const expected = this.tensors[index];
    const tensor = value as Tensor;
    assert.is(tensor.dtype, DTYPE_NAMES[expected.dtype], `${path} dtype`);
    assert.equal([...tensor.shape], expected.shape, `${path} shape`);
    assert.is(sha256(tensor.data), expected.sha256, `${path} bytes`);
    if (this.seenTensors.has(index)) assert.is(value, this.seenTensors.get(index), `${path} is the same object`);
    this.seenTensors.set(index, value);
  }

  ref(id: number, value: TorchValue, path: string): void {
    assert.is(value, this.seenIds.get(id), `${path} is the shared object`);
  }

  private equal(node: Tagged, value: TorchValue): boolean {
    try {
      this.same(node, value);
      return true;
    } catch {
      return false;
    }
  }
}

type Compare = (c: TaggedComparison, node: TaggedObject, value: TorchValue, path: string) => void;

const compareBytes: Compare = (_c, node, value, path) => {
  assert.instance(value, Uint8Array, path);
  if (node.hex !== undefined) assert.is(Buffer.from(value as Uint8Array).toString("hex"), node.hex, path);
  else assert.is(sha256(value as Uint8Array), node.sha256, path);
};

const compareList: Compare = (c, node, value, path) => {
  c.all(node.items as Tagged[], value, path);
  assert.not(Object.isFrozen(value), `${path} is no tuple`);
};

const compareTuple: Compare = (c, node, value, path) => {
  c.all(node.items as Tagged[], value, path);
  assert.ok(Object.isFrozen(value), `${path} is a tuple`);
};

const compareDict: Compare = (c, node, value, path) => c.dict(node.items as [Tagged, Tagged][], value, path);
const compareSet: Compare = (c, node, value, path) => c.set(node.items as Tagged[], value, path);
const compareName: Compare = (_c, node, value, path) => assert.is(value, `torch.${node.v}`, path);

const COMPARE: Readonly<Record<string, Compare>> = {
  int: (_c, node, value, path) => assert.is(BigInt(value as number | bigint), BigInt(node.v!), path),
  float: (_c, node, value, path) => {
    const bits = Buffer.alloc(8);
    bits.writeDoubleBE(value as number);
    if (Number.isNaN(value)) assert.match(node.bits!, /^[7f]ff[89a-f]/, path);
    else assert.is(bits.toString("hex"), node.bits, path);
  },
  bytes: compareBytes,
  bytearray: compareBytes,
  list: compareList,
  tuple: compareTuple,
  "torch.Size": (c, node, value, path) => c.all((node.items as unknown as number[]).map(sizeNode), value, path),
  dict: compareDict,
  OrderedDict: compareDict,
  set: compareSet,
  frozenset: compareSet,
  tensor: (c, node, value, path) => c.tensor(node.i!, value, path),
  "torch.device": (_c, node, value, path) => assert.is(value, node.v, path),
  "torch.dtype": compareName,
  "torch.layout": compareName,
  "torch.qscheme": compareName,
  ref: (c, node, value, path) => c.ref(node.id!, value, path),
  object: (c, node, value, path) => {
    assert.ok(node.class === "argparse.Namespace" || node.class === "collections.Counter", `${path}: ${node.class}`);
    c.same(node.state ?? node.args![0], value, path);
  },
  "np.scalar": (_c, node, value, path) => assert.is(value, numpyScalar(node), path),
  "np.ndarray": (_c, node, value, path) => {
    const tensor = value as Tensor;
    assert.equal([...tensor.shape], node.shape, path);
    if (!node.fortran && !node.dtype!.startsWith(">")) assert.is(sha256(tensor.data), node.sha256_raw, path);
  },
};

/** The corpus writes the sizes of a torch.Size as bare numbers. */
function sizeNode(value: number): Tagged {
  return { k: "int", v: String(value) };
}

function numpyScalar(node: TaggedObject): TorchValue {
  const bytes = Buffer.from(node.hex!, "hex");
  const readers: Record<string, () => TorchValue> = {
    "<f8": () => bytes.readDoubleLE(),
    "<f4": () => bytes.readFloatLE(),
    "<i8": () => Number(bytes.readBigInt64LE()),
    "|u1": () => bytes[0],
    "|b1": () => bytes[0] !== 0,
  };
  return readers[node.dtype!]();
}
