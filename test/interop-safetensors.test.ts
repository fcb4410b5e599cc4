/** Files written here, read by the safetensors library: names, dtypes, shapes, bytes and metadata. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { castTensor } from "../src/formats/cast.js";
import { saveSafetensors } from "../src/formats/safetensors-save.js";
import type { DType, Tensor } from "../src/tensor.js";
import { safetensorsPython } from "./interop.js";

/** One line of JSON for a file: its metadata, and per tensor the dtype's name, the shape and the bytes in hex. */
const SCRIPT = `
import json, sys
from safetensors import safe_open
with safe_open(sys.argv[1], framework="pt") as f:
    rows = {}
    for name in f.keys():
        t = f.get_tensor(name)
        rows[name] = [str(t.dtype)[6:], list(t.shape), bytes(t.contiguous().view(-1).untyped_storage()).hex()]
    print(json.dumps([f.metadata(), rows]))
`;

const run = safetensorsPython();
if (run)
  test("safetensors: the library reads what is written here", () => {
    const numbers: Tensor = {
      dtype: "f32",
      shape: [2, 3],
      data: new Uint8Array(Float32Array.of(1, -2.5, 3e-5, Number.NaN, Number.POSITIVE_INFINITY, -0).buffer),
    };
    const rows: [name: string, dtype: string, tensor: Tensor][] = [
      ["f32", "float32", numbers],
      ["f64", "float64", castTensor(numbers, "f64")],
      ["f16", "float16", castTensor(numbers, "f16")],
      ["bf16", "bfloat16", castTensor(numbers, "bf16")],
      ["scalar \u00e9\n", "int64", { dtype: "i64", shape: [], data: new Uint8Array(8).fill(7) }],
      ...(["u8", "bool", "i8"] as DType[]).map((dtype): [string, string, Tensor] => [
        dtype,
        { u8: "uint8", bool: "bool", i8: "int8" }[dtype as "u8"],
        { dtype, shape: [3], data: Uint8Array.of(0, 1, 1) },
      ]),
    ];
    const metadata = new Map([
      ["format", "pt"],
      ["note", "h\u00e9llo"],
    ]);
    const folder = mkdtempSync(join(tmpdir(), "unitcell-safetensors-"));
    try {
      const file = join(folder, "a.safetensors");
      writeFileSync(file, saveSafetensors(new Map(rows.map(([name, , tensor]) => [name, tensor])), metadata));
      const [found, tensors] = run(SCRIPT, file) as [Record<string, string>, Record<string, unknown>];
      assert.equal(found, Object.fromEntries(metadata));
      const expected = rows.map(([name, dtype, { shape, data }]) => [
        name,
        [dtype, shape, Buffer.from(data).toString("hex")],
      ]);
      assert.equal(tensors, Object.fromEntries(expected));
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

test.run();
