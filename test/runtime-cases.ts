/** The cases of runtime-suite.ts. Each gives facts, which must be the same in every runtime that has the case. */
import type * as Edge from "../src/edge.js";
import type * as Library from "../src/index.js";
import type * as Onnx from "../src/ort.js";
import type { Build, Golden, Network, Plan } from "./runtime-suite.js";

export interface Files {
  read(key: string): Promise<Uint8Array<ArrayBuffer>>;
}

export interface Case {
  readonly name: string;
  /** Names the facts where cases of one backend have other names: the builds are alike where multiply-adds are not fused. */
  readonly kind?: string;
  readonly passed: boolean;
  /** Of the error that it ended with. */
  readonly message?: string;
  /** Bits by name: of predictions the float64 in hex, of files their SHA-256. */
  readonly facts: Readonly<Record<string, string>>;
  /** Largest distance from the goldens, in units of the tolerance. */
  readonly worst?: number;
  /** Structures, each with its network, for which memory did not suffice. */
  readonly tooLarge?: readonly string[];
}

type Facts = Record<string, string>;
interface Found {
  readonly kind?: string;
  readonly facts: Facts;
  readonly worst?: number;
  readonly tooLarge?: readonly string[];
}
type Body = () => Promise<Found>;

/** The package's entries. */
export interface Entries {
  readonly library: typeof Library;
  readonly edge: typeof Edge;
  readonly onnx: typeof Onnx;
}

export async function runCases(entries: Entries, plan: Plan, builds: readonly Build[], files: Files): Promise<Case[]> {
  const run: Run = { ...entries, plan, files };
  const done: Case[] = [];
  for (const [name, body] of [...checkpointCases(run), ...networkCases(run, builds)])
    done.push(
      await body().then(
        (found) => ({ name, passed: true, ...found }),
        (error: Error) => ({ name, passed: false, message: `${error.message}\n${error.stack}`, facts: {} }),
      ),
    );
  return done;
}

interface Run extends Entries {
  readonly plan: Plan;
  readonly files: Files;
}

function* checkpointCases(run: Run): Generator<[name: string, body: Body]> {
  const { containers, hostile, hashes, networks } = run.plan;
  for (const keys of containers) yield [`the values of ${keys.join(", ")}`, () => readContainers(run, keys)];
  for (const [key, code] of Object.entries(hostile)) yield [`${key} is ${code}`, () => refuse(run, key, code)];
  for (const [key, hash] of Object.entries(hashes)) yield [`SHA-256 of ${key}`, () => hashModel(run, key, hash)];
  const structures = [...new Set(networks.flatMap(({ goldens }) => Object.keys(goldens)))];
  yield [`${structures.length} structures as they are read`, () => readStructures(run, structures)];
  for (const network of networks.filter(({ isSmall }) => isSmall)) {
    yield [`${network.name}: written and read again`, () => writeAndRead(run, network)];
    yield [`${network.name}: as ONNX`, () => exportNetwork(run, network)];
    yield [`${network.name}: requests answered`, () => answerRequests(run, network)];
  }
}

function* networkCases(run: Run, builds: readonly Build[]): Generator<[name: string, body: Body]> {
  for (const network of run.plan.networks)
    for (const build of builds) {
      yield [`${network.name}, ${build}`, () => predictAll(run, network, build)];
      if (network.isSmall) yield [`${network.name}: vectors and shares, ${build}`, () => embedAll(run, network, build)];
    }
  if (builds.includes("baseline")) yield ["the cache that ships is not stale", () => readCache(run)];
}

function check(isSo: boolean, message: string): asserts isSo {
  if (!isSo) throw new Error(message);
}

const baseName = (key: string) => key.slice(key.lastIndexOf("/") + 1);
const hex = (bytes: Uint8Array) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
const bitsOf = (values: Iterable<number>) => hex(new Uint8Array(Float64Array.from(values).buffer));

async function sha256(bytes: Uint8Array): Promise<string> {
  return hex(new Uint8Array(await crypto.subtle.digest("SHA-256", bytes as Uint8Array<ArrayBuffer>)));
}

/** Name, type, shape and bytes of every tensor, hashed. */
async function tensorsOf({ library, files }: Run, key: string): Promise<string> {
  const file = await library.openTorch(await files.read(key));
  await file.load();
  const rows: string[] = [];
  for (const { tensor, place } of library.walkTensors(file.root)) {
    const { dtype, shape } = tensor;
    const values = (tensor as Library.TorchTensor).data as { buffer: ArrayBuffer } & ArrayBufferView;
    const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    rows.push(`${library.placeName(place)} ${dtype} [${shape}] ${await sha256(bytes)}`);
  }
  check(rows.length > 0, `${key} has no tensors`);
  return sha256(new TextEncoder().encode(rows.join("\n")));
}

async function readContainers(run: Run, keys: readonly string[]): Promise<Found> {
  const facts: Facts = {};
  for (const key of keys) facts[key] = await tensorsOf(run, key);
  check(new Set(Object.values(facts)).size === 1, `not the same values: ${JSON.stringify(facts)}`);
  return { facts };
}

async function refuse({ library, files }: Run, key: string, code: string): Promise<Found> {
  try {
    await library.loadCheckpoint(await files.read(key));
  } catch (error) {
    check(library.isUnitcellError(error), `${error}`);
    check(error.code === code, `expected ${code}, found ${error.code}: ${error.message}`);
    return { facts: { message: error.message } };
  }
  throw new Error("it was loaded");
}

async function hashModel({ library, files }: Run, key: string, hash: string): Promise<Found> {
  const { sha256: found } = await library.loadModel(await files.read(key));
  check(found === hash, `expected ${hash}, found ${found}`);
  return { facts: { hash: found } };
}

async function structureOf({ library, files }: Run, key: string): Promise<Library.Structure> {
  const text = new TextDecoder().decode(await files.read(key));
  return library.parseStructures(text, { filename: baseName(key) })[0];
}

async function readStructures(run: Run, keys: readonly string[]): Promise<Found> {
  const facts: Facts = {};
  for (const key of keys) {
    const { lattice, fracCoords, numbers, notes = [] } = await structureOf(run, key);
    facts[key] = await sha256(
      new TextEncoder().encode([bitsOf(lattice), bitsOf(fracCoords), `${numbers}`, ...notes].join("\n")),
    );
  }
  return { facts };
}

/** A file by itself, or a bundle by the files' names. */
async function inputOf({ files }: Run, keys: readonly string[]) {
  if (keys.length === 1) return files.read(keys[0]);
  const entries: [string, Uint8Array<ArrayBuffer>][] = [];
  for (const key of keys) entries.push([baseName(key), await files.read(key)]);
  return new Map(entries);
}

async function writeAndRead(run: Run, network: Network): Promise<Found> {
  const { library } = run;
  const checkpoint = await library.loadCheckpoint(await inputOf(run, network.files));
  const structure = await structureOf(run, Object.keys(network.goldens)[0]);
  const backend = library.wasmBackend({ relaxed: false });
  const predictionOf = async (one: Library.Checkpoint) =>
    (await library.predict(library.modelFromCheckpoint(one), [structure], { backend }))[0].value;
  const value = await predictionOf(checkpoint);
  const facts: Facts = { value: bitsOf([value]) };
  const { checkpoint: slim } = library.slimCheckpoint(checkpoint);
  for (const [format, one] of [
    ["torch", checkpoint],
    ["torch", slim],
    ["safetensors", slim],
  ] as const) {
    const bytes = library.saveCheckpoint(one, format);
    const again = await library.loadCheckpoint(bytes);
    const what = `${format}${one === slim ? ", slim" : ""}`;
    check((await predictionOf(again)) === value, `${what}: another prediction`);
    // What is read from JSON does not tell 0.0 from 0.
    if (format === "torch")
      check((await sha256(library.saveCheckpoint(again, format))) === (await sha256(bytes)), `${what}: other bytes`);
    facts[what] = await sha256(bytes);
  }
  return { facts };
}

async function exportNetwork(run: Run, network: Network): Promise<Found> {
  const model = await run.library.loadModel(await inputOf(run, network.files));
  const facts: Facts = {};
  for (const weights of ["f32", "f16"] as const) facts[weights] = await sha256(run.onnx.exportOnnx(model, { weights }));
  return { facts };
}

/** A record as text, without what a run of its own has: numbers in JSON have all their bits. */
function recordText(record: Library.Prediction | Library.FailedPrediction): string {
  return JSON.stringify({ ...record, elapsedMs: undefined, cached: undefined });
}

const numbersOf = ({ probabilities, values, value }: Library.Prediction) => probabilities ?? values ?? [value];

/** In batches, then each alone, against the goldens. */
async function predictAll(run: Run, network: Network, build: Build): Promise<Found> {
  const { library } = run;
  const { predictStream } = library;
  const model = await library.loadModel(await inputOf(run, network.files));
  const backend = library.wasmBackend({ relaxed: build === "relaxed" });
  const structures: Library.Structure[] = [];
  const keys = Object.keys(network.goldens);
  for (const key of keys) structures.push(await structureOf(run, key));
  const facts: Facts = {};
  const texts: string[] = [];
  const tooLarge: string[] = [];
  let worst = 0;
  // Small batches: a worker has 128 MB.
  for await (const record of predictStream(model, structures, { backend, maxAtoms: 512 })) {
    const key = keys[texts.length];
    const text = recordText(record);
    texts.push(text);
    if (run.plan.mayLackMemory && "error" in record && /memory cannot grow/.test(record.error.message)) {
      tooLarge.push(`${network.name}: ${key}`);
      continue;
    }
    facts[`${key} record`] = text;
    if (!("error" in record)) facts[key] = bitsOf(numbersOf(record));
    worst = Math.max(worst, errorOf(record, network.goldens[key], network) / network.tolerance);
    check(worst <= 1, `${key}: ${worst} times the tolerance, ${text}`);
  }
  check(texts.length === keys.length, `${texts.length} of ${keys.length} records`);
  let i = 0;
  for await (const record of predictStream(model, structures, { backend, maxAtoms: 1 })) {
    check(recordText(record) === texts[i], `${keys[i]} alone: ${recordText(record)}, in a batch ${texts[i]}`);
    i++;
  }
  return { kind: `${network.name} on ${backend.name}`, facts, worst, tooLarge };
}

/** Distance of the numbers of a record from the goldens; Infinity where one is a prediction and the other is not. */
function errorOf(
  record: Library.Prediction | Library.FailedPrediction,
  golden: Golden,
  { isRelative, areLogs }: Network,
): number {
  const refused = "error" in record;
  if (refused || golden === "refused") return refused === (golden === "refused") ? 0 : Number.POSITIVE_INFINITY;
  const { least, most } = golden;
  const found = areLogs ? record.probabilities!.map(Math.log) : (record.values ?? [record.value]);
  check(found.length === least.length, `${found.length} numbers, expected ${least.length}`);
  const errors = found.map((x, i) => {
    const scale = isRelative ? Math.max(1, Math.abs(least[i])) : 1;
    return Math.max(least[i] - x, x - most[i], 0) / scale;
  });
  return Math.max(...errors.map((error) => (Number.isNaN(error) ? Number.POSITIVE_INFINITY : error)));
}

/** By the handler for edge functions: the records of predict, and statuses of what is none. */
async function answerRequests(run: Run, network: Network): Promise<Found> {
  const { library, edge, files } = run;
  const backend = library.wasmBackend({ relaxed: false });
  const model = await library.loadModel(await inputOf(run, network.files));
  const handle = edge.predictionHandler(model, { backend });
  const post = (body: BodyInit, name: string) =>
    handle(new Request(`http://localhost/?filename=${name}`, { method: "POST", body }));
  const facts: Facts = {};
  for (const key of Object.keys(network.goldens)) {
    const response = await post(await files.read(key), baseName(key));
    const record = recordText((await response.json()) as Library.Prediction);
    const [expected] = await library.predict(model, [await structureOf(run, key)], { backend });
    check(response.status === 200 && record === recordText(expected), `${key}: ${response.status} ${record}`);
    facts[key] = record;
  }
  const refused = await post("data_x", "x.cif");
  facts.refused = `${refused.status} ${await refused.text()}`;
  facts.get = `${(await handle(new Request("http://localhost/"))).status}`;
  check(/^400 /.test(facts.refused) && facts.get === "405", JSON.stringify(facts));
  return { facts };
}

async function embedAll(run: Run, network: Network, build: Build): Promise<Found> {
  const { library } = run;
  const model = await library.loadModel(await inputOf(run, network.files));
  const backend = library.wasmBackend({ relaxed: build === "relaxed" });
  const facts: Facts = {};
  for (const key of Object.keys(network.goldens)) {
    const [record] = await library.embed(model, [await structureOf(run, key)], { backend, shares: true });
    facts[`${key} crystal`] = await sha256(new Uint8Array(Float32Array.from(record.crystal).buffer));
    facts[`${key} atoms`] = await sha256(new Uint8Array(Float32Array.from(record.atoms).buffer));
    if (record.shares) facts[`${key} shares`] = bitsOf(record.shares.subarray(0, 4));
  }
  return { kind: `${network.name}: vectors and shares on ${backend.name}`, facts };
}

/** Made in another process and perhaps another runtime, its keys and values are ours. */
async function readCache(run: Run): Promise<Found> {
  const { library, files, plan } = run;
  const models: Library.Model[] = [];
  for (const { file, property, unit, trainedOn } of plan.cache.members)
    models.push(await library.loadModel(await files.read(file), { name: baseName(file), property, unit, trainedOn }));
  const cache = await library.PredictionCache.load(await files.read(plan.cache.file));
  const backend = library.wasmBackend({ relaxed: false });
  const structures: Library.Structure[] = [];
  for (const key of plan.cache.structures) structures.push(await structureOf(run, key));
  const facts: Facts = {};
  const cached = await library.predict(library.ensemble(models), structures, { cache, backend });
  const fresh = await library.predict(library.ensemble(models), structures, { backend });
  for (const [i, record] of cached.entries()) {
    const key = plan.cache.structures[i];
    check(record.cached === true, `${key} is not in the cache`);
    check(recordText(record) === recordText(fresh[i]), `${key}: ${recordText(fresh[i])}, cached ${recordText(record)}`);
    facts[key] = bitsOf([record.value, record.std!]);
  }
  return { facts };
}
