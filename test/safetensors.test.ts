import { createHash } from "node:crypto";
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { DEFAULT_LIMITS, JSON_DEPTH } from "../src/bytes.js";
import { type ErrorCode, UnitcellError } from "../src/errors.js";
import { readSafetensorsHeader, safetensorsHeaderEnd } from "../src/formats/safetensors.js";
import { TORCH_DTYPES } from "../src/tensor.js";
import { fixtureBytes, fixtureJson, haveFixtures } from "./fixtures.js";
import { loadSafetensors } from "./load-safetensors.js";
import { throwsCode } from "./throws.js";

/** A file of this header text and so many payload bytes 0, 1, 2 ... */
function file(header: string | readonly number[], payload = 0): Uint8Array {
  const json = typeof header === "string" ? new TextEncoder().encode(header) : header;
  const length = new BigUint64Array([BigInt(json.length)]);
  return Uint8Array.from([...new Uint8Array(length.buffer), ...json, ...Array.from({ length: payload }, (_, i) => i)]);
}

const entry = (dtype: string, shape: string, begin: number | string, end: number | string) =>
  `{"dtype":"${dtype}","shape":[${shape}],"data_offsets":[${begin},${end}]}`;
const a8 = `"a":${entry("F32", "2", 0, 8)}`;

const good: [
  name: string,
  bytes: Uint8Array,
  tensors: [name: string, dtype: string, shape: number[], data: number[]][],
][] = [
  ["no tensors", file("{}"), []],
  ["padding with spaces and a line end", file("{}   \n"), []],
  ["metadata alone", file('{"__metadata__":{"a":"b"}}'), []],
  ["a scalar", file(`{"s":${entry("U8", "", 0, 1)}}`, 1), [["s", "u8", [], [0]]]],
  ["an empty tensor", file(`{"e":${entry("F64", "3,0", 0, 0)}}`), [["e", "f64", [3, 0], []]]],
  [
    "huge sizes beside a zero",
    file(`{"e":${entry("F64", "9007199254740991,9007199254740991,0", 0, 0)}}`),
    [["e", "f64", [2 ** 53 - 1, 2 ** 53 - 1, 0], []]],
  ],
  [
    "payload order is not header order",
    file(`{"b":${entry("U8", "2", 2, 4)},"a":${entry("I8", "2", 0, 2)}}`, 4),
    [
      ["b", "u8", [2], [2, 3]],
      ["a", "i8", [2], [0, 1]],
    ],
  ],
  [
    "names that objects sort or swallow",
    file(
      `{"10":${entry("U8", "1", 0, 1)},"2":${entry("U8", "1", 1, 2)},"__proto__":${entry("U8", "1", 2, 3)},"":${entry("U8", "1", 3, 4)}}`,
      4,
    ),
    [
      ["10", "u8", [1], [0]],
      ["2", "u8", [1], [1]],
      ["__proto__", "u8", [1], [2]],
      ["", "u8", [1], [3]],
    ],
  ],
  [
    "escapes in names",
    file(`{"\\u0041\\"\\\\\\ud83d\\ude00":${entry("U8", "0", 0, 0)}}`),
    [['A"\\\u{1f600}', "u8", [0], []]],
  ],
  [
    "empty tensors between others",
    file(`{"x":${entry("U8", "1", 0, 1)},"y":${entry("F32", "0", 1, 1)},"z":${entry("U8", "1", 1, 2)}}`, 2),
    [
      ["x", "u8", [1], [0]],
      ["y", "f32", [0], []],
      ["z", "u8", [1], [1]],
    ],
  ],
  [
    "keys the library passes over",
    file(`{"a":{"dtype":"U8","more":{"x":[1.5e-3,true,null,"]"]},"shape":[1],"data_offsets":[0,1]}}`, 1),
    [["a", "u8", [1], [0]]],
  ],
  [
    "F4 counts numbers, two to a byte",
    file(`{"a":${entry("F4", "2,4", 0, 4)}}`, 4),
    [["a", "f4_e2m1fn_x2", [2, 2], [0, 1, 2, 3]]],
  ],
  [
    "all 8-bit floats",
    file(
      `{${["E4M3", "E5M2", "E8M0", "E4M3FNUZ", "E5M2FNUZ"].map((t, i) => `"${t}":${entry(`F8_${t}`, "1", i, i + 1)}`).join()}}`,
      5,
    ),
    [
      ["E4M3", "f8_e4m3fn", [1], [0]],
      ["E5M2", "f8_e5m2", [1], [1]],
      ["E8M0", "f8_e8m0fnu", [1], [2]],
      ["E4M3FNUZ", "f8_e4m3fnuz", [1], [3]],
      ["E5M2FNUZ", "f8_e5m2fnuz", [1], [4]],
    ],
  ],
  [
    "white space anywhere",
    file(`{ "a" :\n{ "dtype" : "U8" ,\t"shape" : [ 1 ] , "data_offsets" : [ 0 , 1 ] } }`, 1),
    [["a", "u8", [1], [0]]],
  ],
];
for (const [name, bytes, expected] of good)
  test(`safetensors: ${name}`, () => {
    const { tensors } = loadSafetensors(bytes);
    assert.equal(
      [...tensors].map(([key, { dtype, shape, data }]) => [key, dtype, shape, [...data]]),
      expected,
    );
  });

test("safetensors: metadata, and where the storages lie in a file of 10 TB of which only the header is there", () => {
  const size = 10 * 2 ** 40;
  const bytes = file(
    `{"__metadata__":{"format":"pt","__proto__":"h\u00e9"},"a":${entry("U8", String(size), 0, size)}}`,
  );
  const { payloadStart, metadata, tensors, starts } = readSafetensorsHeader(bytes, bytes.length + size);
  assert.equal(
    [...metadata!],
    [
      ["format", "pt"],
      ["__proto__", "h\u00e9"],
    ],
  );
  const { storage } = tensors.get("a")!;
  assert.is(payloadStart, bytes.length);
  assert.is(safetensorsHeaderEnd(bytes.subarray(0, 8), bytes.length + size), bytes.length);
  assert.is(starts.get(storage!), bytes.length);
  assert.equal(
    [storage!.key, storage!.dtype, storage!.numel, storage!.location, storage!.bytes],
    ["a", "u8", size, "cpu", undefined],
  );
});

const bad: [name: string, bytes: Uint8Array, code: ErrorCode, message: RegExp][] = [
  ["no bytes", new Uint8Array(0), "CORRUPT", /8 more bytes/],
  ["no header", file(""), "CORRUPT", /first byte/],
  ["a header that starts with a space", file(" {}"), "CORRUPT", /first byte/],
  ["a byte order mark", file("\ufeff{}"), "CORRUPT", /first byte/],
  ["a header that stops", file(`{"a":{"dtype":"F32"`), "CORRUPT", /found the end/],
  ["a string that stops", file(`{"a`), "CORRUPT", /rest of a string/],
  ["a backslash at the end", file(`{"a\\`), "CORRUPT", /rest of a string/],
  ["a comma at the end", file(`{${a8},}`, 8), "CORRUPT", /expected """/],
  ["two values", file("{}{}"), "CORRUPT", /nothing more/],
  ["NUL padding", file("{}\0"), "CORRUPT", /nothing more/],
  ["UTF-8 that is none", file([0x7b, 0x22, 0xc3, 0x22, 0x7d]), "CORRUPT", /not UTF-8/],
  ["a bad escape", file('{"\\x":1}'), "CORRUPT", /JSON string/],
  ["a control character", file('{"\n":1}'), "CORRUPT", /control character/],
  ["half a surrogate pair", file('{"\\ud800":1}'), "CORRUPT", /lone surrogate/],
  ["an entry that is no object", file('{"a":[1]}'), "CORRUPT", /expected "{"/],
  ["the same tensor twice", file(`{${a8},${a8}}`, 8), "CORRUPT", /the key "a" twice/],
  ["the same tensor twice, once escaped", file(`{${a8},"\\u0061":${entry("F32", "2", 0, 8)}}`, 8), "CORRUPT", /twice/],
  ["the same field twice", file('{"a":{"dtype":"U8","dtype":"U8"}}'), "CORRUPT", /twice/],
  ["the same metadata key twice", file('{"__metadata__":{"a":"1","a":"2"}}'), "CORRUPT", /twice/],
  ["metadata twice", file('{"__metadata__":{},"__metadata__":{}}'), "CORRUPT", /twice/],
  ["metadata null", file('{"__metadata__":null}'), "CORRUPT", /expected "{"/],
  ["metadata with a number", file('{"__metadata__":{"a":1}}'), "CORRUPT", /expected """/],
  ["no dtype", file('{"a":{"shape":[1],"data_offsets":[0,1]}}', 1), "CORRUPT", /lacks dtype/],
  ["no shape", file('{"a":{"dtype":"U8","data_offsets":[0,1]}}', 1), "CORRUPT", /lacks shape/],
  ["no range", file('{"a":{"dtype":"U8","shape":[1]}}', 1), "CORRUPT", /lacks data_offsets/],
  ["a size 1.0", file(`{"a":${entry("U8", "1.0", 0, 1)}}`, 1), "CORRUPT", /an integer from 0/],
  ["a size 1e0", file(`{"a":${entry("U8", "1e0", 0, 1)}}`, 1), "CORRUPT", /an integer from 0/],
  ["a size -0", file(`{"a":${entry("U8", "-0", 0, 0)}}`), "CORRUPT", /an integer from 0/],
  ["a size 01", file(`{"a":${entry("U8", "01", 0, 1)}}`, 1), "CORRUPT", /an integer from 0/],
  ["a size as text", file(`{"a":${entry("U8", '"1"', 0, 1)}}`, 1), "CORRUPT", /an integer from 0/],
  ["a size 2^53", file(`{"a":${entry("U8", "9007199254740992", 0, 1)}}`, 1), "CORRUPT", /an integer from 0/],
  [
    "sizes whose product is 2^64",
    file(`{"a":${entry("U8", "4294967296,4294967296", 0, 0)}}`),
    "CORRUPT",
    /takes 18446744073709552000 bytes/,
  ],
  [
    "sizes whose product is infinite",
    file(`{"a":${entry("U8", Array(30).fill("9007199254740991").join(), 0, 0)}}`),
    "CORRUPT",
    /takes Infinity bytes/,
  ],
  ["65 dimensions", file(`{"a":${entry("U8", Array(65).fill("1").join(), 0, 1)}}`, 1), "LIMIT", /over 64 dimensions/],
  ["one offset", file('{"a":{"dtype":"U8","shape":[1],"data_offsets":[0]}}', 1), "CORRUPT", /of 1 numbers/],
  ["three offsets", file('{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1,2]}}', 1), "CORRUPT", /more than two/],
  [
    "an offset of 2^64",
    file(`{"a":${entry("U8", "1", "18446744073709551615", "18446744073709551616")}}`, 1),
    "CORRUPT",
    /an integer from 0/,
  ],
  [
    "a range beyond the file",
    file(`{"a":${entry("U8", "8", 0, 8)}}`, 7),
    "CORRUPT",
    /ends at byte 8 of a payload of 7/,
  ],
  ["a gap at the start", file(`{"a":${entry("U8", "1", 1, 2)}}`, 2), "CORRUPT", /gap after what ends at 0/],
  ["an empty tensor beyond the end", file(`{"a":${entry("U8", "0", 5, 5)}}`), "CORRUPT", /ends at byte 5/],
  [
    "the same bytes twice",
    file(`{"a":${entry("U8", "1", 0, 1)},"b":${entry("U8", "1", 0, 1)}}`, 1),
    "CORRUPT",
    /inside what ends at 1/,
  ],
  ["F6", file(`{"a":${entry("F6_E2M3", "4", 0, 3)}}`, 3), "UNSUPPORTED", /"F6_E2M3"/],
  ["a dtype that objects have", file(`{"a":${entry("constructor", "1", 0, 1)}}`, 1), "UNSUPPORTED", /"constructor"/],
  ["F4 in rows of three", file(`{"a":${entry("F4", "2,3", 0, 3)}}`, 3), "UNSUPPORTED", /odd length/],
  ["F4 scalar", file(`{"a":${entry("F4", "", 0, 1)}}`, 1), "UNSUPPORTED", /odd length/],
  ["nesting", file(`{"a":{"x":${"[".repeat(100_000)}`), "LIMIT", new RegExp(`deeper than ${JSON_DEPTH}`)],
];
for (const [name, bytes, code, message] of bad)
  test(`safetensors refuses ${name}`, () => throwsCode(() => loadSafetensors(bytes), code, message));

test("safetensors: the caller's limit on the header", async () => {
  const bytes = file(`{${a8}}`, 8);
  await throwsCode(() => loadSafetensors(bytes, { ...DEFAULT_LIMITS, headerBytes: 20 }), "LIMIT", /the limit is 20/);
});

test("safetensors: any one byte changed gives tensors or a UnitcellError", () => {
  const bytes = file(`{"__metadata__":{"a":"b"},"x":${entry("F16", "2,2", 0, 8)},"y":${entry("U8", "3", 8, 11)}}`, 11);
  fc.assert(
    fc.property(fc.nat(bytes.length - 1), fc.nat(255), fc.nat(bytes.length), (at, value, end) => {
      const changed = bytes.slice(0, end > bytes.length / 2 ? bytes.length : end);
      if (at < changed.length) changed[at] = value;
      try {
        for (const { data } of loadSafetensors(changed).tensors.values()) assert.ok(data.length <= 11);
      } catch (error) {
        if (!(error instanceof UnitcellError)) throw error;
      }
    }),
    { numRuns: 3000 },
  );
});

interface BadFile {
  class: string;
  accept?: string[];
  may_succeed?: boolean;
  max_seconds: number;
}

/** Codes that say what a class of the corpus says. */
const CODES: Record<string, ErrorCode[]> = {
  "safetensors-corrupt": ["CORRUPT"],
  "unsupported-dtype": ["UNSUPPORTED"],
  truncated: ["CORRUPT"],
  "tensor-bounds": ["CORRUPT"],
  "limit-exceeded": ["LIMIT"],
  "not-a-checkpoint": ["CORRUPT"],
};

if (haveFixtures("torch")) {
  test("safetensors: every hostile file of the corpus is refused in time, with a fitting code", () => {
    const { files } = fixtureJson<{ files: Record<string, BadFile> }>("torch/bad/manifest.json");
    const refused = new Map<string, number>();
    const names = Object.keys(files).filter((name) => name.endsWith(".safetensors"));
    const read: string[] = [];
    for (const name of names) {
      const { class: kind, accept = [], max_seconds } = files[name];
      const start = performance.now();
      try {
        loadSafetensors(fixtureBytes(`torch/bad/${name}`));
        read.push(name);
      } catch (error) {
        assert.instance(error, UnitcellError, name);
        const { code, message } = error as UnitcellError;
        assert.ok(
          [kind, ...accept].some((k) => CODES[k].includes(code)),
          `${name}: ${code} ${message}`,
        );
        refused.set(code, (refused.get(code) ?? 0) + 1);
      }
      assert.ok(performance.now() - start < max_seconds * 1000, name);
    }
    console.log(`safetensors corpus: ${names.length} bad files, refused ${JSON.stringify([...refused])}, read ${read}`);
    // Legal, and must not reach Object.prototype.
    assert.equal(read, ["bad_proto_key.safetensors"]);
    assert.is(Object.getPrototypeOf({}), Object.prototype);
  });

  interface GoodFile {
    extra: { metadata: Record<string, string> | null };
    tensors: { path: string[]; dtype: string; shape: number[]; stride: number[]; sha256: string }[];
    root: { items: [string, { i: number }][] };
  }
  const { files } = fixtureJson<{ files: Record<string, GoodFile> }>("torch/manifest.json");
  for (const name of [
    "safetensors_dtypes.safetensors",
    "safetensors_min.safetensors",
    "safetensors_named.pt",
    "torch2/library.safetensors",
  ])
    test(`safetensors: ${name} is as its manifest says`, () => {
      const { tensors, metadata } = loadSafetensors(fixtureBytes(`torch/${name}`));
      const { extra, root, tensors: expected } = files[name];
      assert.equal(metadata && Object.fromEntries(metadata), extra.metadata ?? undefined);
      assert.equal(
        [...tensors].map(([key, t]) => [
          key,
          TORCH_DTYPES[t.dtype],
          t.shape,
          t.strides,
          createHash("sha256").update(t.data).digest("hex"),
        ]),
        root.items.map(([key, { i }]) => [
          key,
          expected[i].dtype,
          expected[i].shape,
          expected[i].stride,
          expected[i].sha256,
        ]),
      );
    });
}

test.run();
