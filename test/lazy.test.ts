/** What is fetched from inputs that are not in memory, and that it is the same as what memory gives. */
import { readFileSync } from "node:fs";
import { deflateSync } from "fflate";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { openTorch, type TorchFile } from "../src/formats/torch.js";
import type { TorchTensor } from "../src/formats/torch-tensors.js";
import type { TorchValue } from "../src/formats/values.js";
import { walkTensors } from "../src/formats/walk.js";
import { TORCH_DTYPES } from "../src/tensor.js";
import { global, int, ops, storage, str, tensor, tuple, u64, utf8, zip } from "./build-files.js";
import { fixtureBytes, fixtureJson, haveFixtures } from "./fixtures.js";
import { canonical, describeValue } from "./tagged.js";
import { throwsCode } from "./throws.js";
import { spread, VirtualFile, virtualZip } from "./virtual-files.js";

const MB = 2 ** 20;
/** What opening may fetch of a file, however large. */
const OPENING_BYTES = 300_000;
const inert = { unknownClasses: "inert" } as const;

function tensorsOf(file: TorchFile): TorchTensor[] {
  const tensors = [...walkTensors(file.root)].map(({ tensor }) => tensor as TorchTensor);
  return tensors.filter((found) => found.storage);
}

const named = (file: TorchFile, name: string) => (file.root as Map<string, TorchTensor>).get(name)!;

function dict(items: Readonly<Record<string, number[]>>): number[] {
  return ops("EMPTY_DICT", "MARK", ...Object.entries(items).flatMap(([key, item]) => [str(key), item]), "SETITEMS");
}

const values = new Uint8Array(Float32Array.of(1.5, -2, 3).buffer);

/** 2 GB: twenty storages of 100 MB, one of 8 MB, one of 12 bytes. */
function largeZip(): VirtualFile {
  const floats = 25 * MB;
  const large = Array.from({ length: 20 }, (_, i) => String(i));
  const pickle = dict({
    ...Object.fromEntries(large.map((key) => [`w${key}`, tensor(storage("Float", key, floats), 0, [floats], [1])])),
    row: tensor(storage("Float", "5", floats), 3 * 1000, [10, 100], [100, 1]),
    columns: tensor(storage("Float", "5", floats), 7, [100, 2], [1000, 1]),
    medium: tensor(storage("Float", "medium", 2 * MB), 0, [2 * MB], [1]),
    small: tensor(storage("Float", "small", 3), 0, [3], [1]),
  });
  return virtualZip([
    { name: "big/data.pkl", data: ops("PROTO", [2], pickle, "STOP") },
    ...large.map((key) => ({ name: `big/data/${key}`, data: 4 * floats })),
    { name: "big/data/medium", data: 8 * MB },
    { name: "big/data/small", data: values },
    { name: "big/version", data: utf8("3\n") },
  ]);
}

/** Runs and says what was fetched meanwhile. */
async function fetched(file: TorchFile, source: VirtualFile, run: () => Promise<unknown>): Promise<number> {
  const [before, given] = [file.bytesRead, source.bytesGiven];
  await run();
  assert.is(file.bytesRead - before, source.bytesGiven - given);
  return file.bytesRead - before;
}

test("lazy: a zip of 2 GB opens with a few small requests, and gives tensors alone", async () => {
  const source = largeZip();
  assert.ok(source.size > 2e9);
  const file = await openTorch(source);
  assert.is(file.size, source.size);
  assert.is(file.bytesRead, source.bytesGiven);
  assert.ok(file.bytesRead < OPENING_BYTES, `${file.bytesRead} bytes`);
  assert.ok(source.requests <= 6, `${source.requests} requests`);
  assert.equal(named(file, "w19").shape, [25 * MB]);

  const small = named(file, "small");
  assert.ok((await fetched(file, source, () => file.load([small]))) < 70_000);
  assert.equal([...small.data], [...values]);
  assert.is(await fetched(file, source, () => file.load([small])), 0, "what is loaded stays so");
  assert.equal([...(await file.read(small))], [...values]);

  const medium = named(file, "medium");
  const rest = (await fetched(file, source, () => file.load([medium]))) - 8 * MB;
  assert.ok(rest >= 0 && rest < 70_000, `${rest} bytes beside the storage`);
  assert.is(medium.data.length, 8 * MB);
  await throwsCode(() => named(file, "w0").data, "ARGUMENT", /not loaded/);
});

test("lazy: a view of 100 MB is read by its own range", async () => {
  const source = largeZip();
  const file = await openTorch(source);
  const before = source.requests;
  assert.ok((await fetched(file, source, () => file.read(named(file, "row")))) <= 4 * 1000 + 400);
  assert.ok((await fetched(file, source, () => file.read(named(file, "columns")))) <= 4 * (99 * 1000 + 2) + 400);
  assert.ok((await fetched(file, source, () => file.readStorage(file.storages[7], 90e6, 90e6 + 10))) <= 410);
  assert.ok(source.requests - before <= 6, `${source.requests - before} requests`);
  assert.is(named(file, "row").storage!.bytes, undefined, "nothing is kept");
  assert.is((await file.read(named(file, "columns"))).length, 4 * 200);
});

test("lazy: records are compared with their CRCs when loaded, and only then", async () => {
  const right = largeZip();
  const tail = right.bytes(right.size - 5000, right.size);
  const at = right.size - 5000 + Buffer.from(tail).indexOf(values);
  const wrong = right.with([at, [99]]);
  const file = await openTorch(wrong);
  await throwsCode(() => file.load([named(file, "small")]), "CORRUPT", /CRC-32/);
  assert.is((await file.read(named(file, "small")))[0], 99);
  const unchecked = await openTorch(wrong, { checkCrc: false });
  await unchecked.load([named(unchecked, "small")]);
  assert.is(named(unchecked, "small").data[0], 99);
});

test("lazy: a large deflated storage is inflated as its parts come", async () => {
  // Random numbers hardly shrink: these are fetched in three parts.
  const data = new Uint8Array(9 * MB);
  for (let i = 0, x = 1; i < data.length; i++) {
    x = (x * 48271) % 0x7fffffff;
    data[i] = x >> 8;
  }
  const raw = deflateSync(data, { level: 1 });
  const pickle = tensor(storage("Byte", "0", data.length), 0, [data.length], [1]);
  const head = { name: "a/data.pkl", data: ops("PROTO", [2], pickle, "STOP") };
  const tail = { name: "a/version", data: utf8("3\n") };
  const bytes = zip([head, { name: "a/data/0", data, raw, method: 8 }, tail]);
  const file = await openTorch(new Blob([Uint8Array.from(bytes)]));
  await file.load();
  assert.is(Buffer.compare((file.root as TorchTensor).data, data), 0);
  const start = Buffer.from(bytes).indexOf("a/data/0") + "a/data/0".length;
  for (const [name, at] of [
    ["its first part", start + 1000],
    ["its last part", start + raw.length - 1000],
  ] as const) {
    const damaged = Uint8Array.from(bytes);
    damaged[at] ^= 0x55;
    const opened = await openTorch(new Blob([damaged]));
    await throwsCode(() => opened.load(), "CORRUPT", /deflate|inflates|CRC-32/);
    assert.is(opened.storages[0].bytes, undefined, name);
  }
});

/** A stream as torch wrote it before 1.6: pickles, then (count, bytes) of each storage. */
function legacyFile(comment: number): VirtualFile {
  const large = 250 * MB;
  const of = (key: string, numel: number) =>
    ops(
      tuple(str("storage"), global("torch", "FloatStorage"), str(key), str("cpu"), int(numel), ops("NONE")),
      "BINPERSID",
    );
  const pickles = [
    ops("LONG1", [10], [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19]),
    int(1001),
    ops("EMPTY_DICT"),
    dict({
      comment: str("x".repeat(comment)),
      first: tensor(of("a", 3), 0, [3], [1]),
      large: tensor(of("b", large), 0, [large], [1]),
      part: tensor(of("b", large), 100, [10], [1]),
      last: tensor(of("c", 3), 1, [2], [1]),
    }),
    ops("MARK", str("a"), str("b"), str("c"), "LIST"),
  ].flatMap((pickle) => ops("PROTO", [2], pickle, "STOP"));
  const first = [...u64(3), ...values, ...u64(large)];
  const start = pickles.length + first.length + 4 * large;
  return new VirtualFile(start + 8 + 12, [
    [0, [...pickles, ...first]],
    [start, [...u64(3), ...values]],
  ]);
}

for (const comment of [0, 300_000])
  test(`lazy: a legacy stream of 1 GB whose pickles take ${comment} bytes and more`, async () => {
    const source = legacyFile(comment);
    const file = await openTorch(source);
    assert.ok(file.bytesRead < OPENING_BYTES + 5 * comment, `${file.bytesRead} bytes`);
    assert.ok(source.requests <= 3, `${source.requests} requests`);
    assert.ok((await fetched(file, source, () => file.load([named(file, "last")]))) < 200);
    assert.equal([...named(file, "last").data], [...values.subarray(4)]);
    assert.is(
      await fetched(file, source, () => file.read(named(file, "part"))),
      40 + 8,
      "its elements, and the count before the storage",
    );
    await file.load([named(file, "first")]);
    assert.equal([...named(file, "first").data], [...values]);
    // The counts before the storages are read with them, and must agree.
    const wrong = new VirtualFile(source.size, [
      [0, source.bytes(0, MB)],
      [source.size - 20, u64(4)],
    ]);
    const other = await openTorch(wrong);
    await throwsCode(() => other.load([named(other, "last")]), "CORRUPT", /has 4 elements, the pickle describes 3/);
  });

/** Own files, and the shared ones where they are; each is read from every kind of input. */
const samples: [name: string, bytes: Uint8Array<ArrayBuffer>][] = [];
for (const name of ["dtypes", "views", "containers", "cgcnn"])
  for (const container of ["zip", "legacy", "deflated"])
    samples.push([
      `${name}.${container}.pt`,
      new Uint8Array(readFileSync(`test/fixtures/torch/${name}.${container}.pt`)),
    ]);
const shared = haveFixtures("torch");
if (shared)
  for (const [name, { format }] of Object.entries(
    fixtureJson<{ files: Record<string, { format: string }> }>("torch/manifest.json").files,
  ))
    if (format !== "virtual-zip") samples.push([name, fixtureBytes(`torch/${name}`)]);

let alsoSpread = 0;
for (const [name, bytes] of samples)
  test(`lazy: ${name} is the same from every input, whole and tensor by tensor`, async () => {
    const whole = await openTorch(bytes, inert);
    await whole.load();
    assert.is(whole.bytesRead, 0);
    const expected = JSON.stringify(canonical(describeValue(whole.root)));
    const [counting, spreadOut] = [new VirtualFile(bytes.length, [[0, bytes]]), spread(bytes)];
    const reading = {
      size: bytes.length,
      slice: () => assert.unreachable() as never,
      // A piece of a larger buffer, as Node's reads give.
      read: (start: number, end: number) =>
        Buffer.concat([bytes.subarray(0, 3), bytes.subarray(start, end)]).subarray(3),
    };
    const inputs = [bytes.buffer, new Blob([bytes]), new File([bytes], name), counting, reading];
    if (spreadOut) inputs.push(spreadOut);
    for (const input of inputs) {
      const file = await openTorch(input, inert);
      for (const [i, tensor] of tensorsOf(file).entries()) {
        const read = await file.read(tensor);
        assert.is(Buffer.compare(read, tensorsOf(whole)[i].data), 0, `tensor ${i}`);
      }
      await file.load();
      assert.ok(JSON.stringify(canonical(describeValue(file.root))) === expected, "the value");
    }
    assert.is(counting.requests, 1, "small files come in one piece");
    if (spreadOut) {
      assert.ok(spreadOut.requests > 2);
      alsoSpread++;
    }
  });

test("lazy: most files were also read in parts", () => assert.ok(alsoSpread > samples.length / 2, `${alsoSpread}`));

for (const name of ["views.zip.pt", "views.legacy.pt", "views.deflated.pt"])
  test(`lazy: ${name} from a source that gives a byte less than asked for is MISMATCH`, async () => {
    const bytes = new Uint8Array(readFileSync(`test/fixtures/torch/${name}`));
    const slice = (start: number, end: number) => new Blob([bytes.subarray(start, end - 1)]);
    await throwsCode(() => openTorch({ size: bytes.length, slice }), "MISMATCH", /the source gave/);
    let short = 0;
    const whole = spread(bytes)!;
    const later = await openTorch({
      size: whole.size,
      slice: (start: number, end: number) => new Blob([whole.bytes(start, end - short)]),
    });
    short = 1;
    await throwsCode(() => later.load(), "MISMATCH");
    await throwsCode(() => later.read(tensorsOf(later)[0]), "MISMATCH");
    short = 0;
    await later.load();
  });

test("lazy: what a source throws comes through", async () => {
  const slice = () => ({ arrayBuffer: () => Promise.reject(new Error("the network is gone")) });
  const reason = await openTorch({ size: 1000, slice }).catch((error: Error) => error);
  assert.match((reason as Error).message, "the network is gone");
});

if (shared) {
  interface Described {
    path: [string];
    dtype: string;
    shape: number[];
    data_offset?: number;
    nbytes: number;
  }
  const { size, segments } = fixtureJson<{ size: number; segments: [number, string][] }>("torch/torch2/zip64_big.json");
  const parts = segments.map(([offset, hex]): [number, Uint8Array] => [offset, Buffer.from(hex, "hex")]);
  const described = fixtureJson<{ files: Record<string, { tensors: Described[] }> }>("torch/manifest.json").files[
    "torch2/zip64_big.json"
  ].tensors;

  test("lazy: an archive of 4.3 GB that torch wrote, with records beyond 4 GiB", async () => {
    // Its storages are zeros without CRC (torch's skip_data); numbers laid over two of them show that the places are right.
    const start = described[0].data_offset!;
    const third = [...u64(5), ...u64(4), ...u64(3), ...u64(2), ...u64(1)];
    const source = new VirtualFile(size, [...parts, [start, values], [2 ** 32 + 1152, third]]);
    const file = await openTorch(source);
    assert.ok(file.bytesRead < OPENING_BYTES, `${file.bytesRead} bytes`);
    assert.equal(
      described.map(({ path: [name] }) => name),
      [...(file.root as Map<TorchValue, TorchValue>).keys()],
    );
    for (const { path, dtype, shape, nbytes } of described) {
      const found = named(file, path[0]);
      assert.equal([TORCH_DTYPES[found.dtype], found.shape], [dtype, shape]);
      assert.is(found.storage!.byteLength, nbytes);
    }
    await file.load([named(file, "a"), named(file, "c")]);
    assert.equal([...named(file, "a").data], [...values]);
    assert.equal([...named(file, "c").data], third);
    const [big, at] = [named(file, "big").storage!, described[1].data_offset!];
    for (const [from, to] of [
      [0, 16],
      [2 ** 31 - 8, 2 ** 31 + 8],
      [2 ** 32 - at - 8, 2 ** 32 - at + 8],
      [big.byteLength - 16, big.byteLength],
    ])
      assert.equal([...(await file.readStorage(big, from, to))], [...source.bytes(at + from, at + to)]);
    assert.ok(file.bytesRead < 2 * OPENING_BYTES, `${file.bytesRead} bytes`);
  });
}

test.run();
