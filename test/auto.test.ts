/** Where batches run: on backends that take the time a clock is told. The real ones: auto-browser.test.ts. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type AutoParts, autoBackendOf, type CalibrationCache } from "../src/backends/auto.js";
import type { RunNote, Session } from "../src/backends/backend.js";
import { type Calibration, calibrate, gpuWins, loadOf } from "../src/backends/calibrate.js";
import type { OrtBackend } from "../src/backends/ort.js";
import { UnitcellError } from "../src/errors.js";
import type { Batch } from "../src/graphs/batch.js";
import { predict } from "../src/index.js";
import { type AutoOptions, autoBackend } from "../src/ort.js";
import { VERSION } from "../src/version.js";
import { exampleModel, exampleStructures } from "./examples.js";
import { randomAlignn } from "./random-models.js";
import { throwsCode } from "./throws.js";

const { program } = randomAlignn();
const { nodes, work } = loadOf(program);

/** Of at least so many operations, and hardly more. */
function batchOf(operations: number): Batch {
  const sizes = (E: number) => ({ B: 1, N: 100, E, T: 0 });
  const perBond = work(sizes(1)) - work(sizes(0));
  return { sizes: sizes(Math.ceil((operations - work(sizes(0))) / perBond)), inputs: new Map() };
}

const LIGHT = batchOf(5.9e9);
const HEAVY = batchOf(20e9);

const MIB = 2 ** 20;

/** How a backend that computes nothing is. */
interface Speed {
  /** Operations a ms. */
  readonly rate: number;
  readonly nodeMs: number;
  readonly goodBytes: number;
}

class FakeBackend implements OrtBackend {
  readonly device = "a GPU";
  readonly events: string[] = [];
  runs = 0;
  /** Of the session that runs next, before its results. */
  failing: (() => RunNote | undefined) | undefined;
  readonly #clock: { ms: number };
  readonly #speed: Speed;

  constructor(
    readonly name: string,
    clock: { ms: number },
    speed: Speed,
  ) {
    this.#clock = clock;
    this.#speed = speed;
  }

  async createSession(made: typeof program): Promise<Session> {
    const load = loadOf(made);
    const which = made === program ? "the program" : "the calibration";
    const { rate, nodeMs, goodBytes } = this.#speed;
    const compute = async ({ sizes }: Batch, note: ((note: RunNote) => void) | undefined) => {
      await Promise.resolve();
      this.runs++;
      this.events.push(`${which} runs`);
      this.#clock.ms += load.nodes * nodeMs + load.work(sizes) / rate;
      const told = this.failing?.();
      if (told) note?.(told);
      return Float32Array.of(sizes.E);
    };
    return {
      goodBytes,
      run: compute,
      values: async (batch, labels, note) => {
        const result = await compute(batch, note);
        return new Map(labels.map((label) => [label, result]));
      },
      bytes: ({ E }) => E,
      dispose: () => {
        this.events.push(`${which} disposed`);
      },
    };
  }

  async dispose() {
    this.events.push("backend disposed");
  }
}

const WASM: Speed = { rate: 60e6, nodeMs: 0, goodBytes: 16 * MIB };
const FAST: Speed = { rate: 2e9, nodeMs: 0.05, goodBytes: 256 * MIB };
const SLOW: Speed = { rate: 0.5e6, nodeMs: 0.5, goodBytes: 256 * MIB };

const DEVICE = `a GPU, wasm, unitcell ${VERSION}`;

/** A process of its own. */
function start({ speed = FAST, ...changes }: { speed?: Speed } & Partial<AutoParts> = {}) {
  const clock = { ms: 0 };
  const wasm = new FakeBackend("wasm", clock, WASM);
  const gpu = new FakeBackend("ort-webgpu", clock, speed);
  const asked = { count: 0 };
  const findGpu = async () => {
    asked.count++;
    return "a GPU" as string | undefined;
  };
  const now = () => clock.ms;
  const parts: AutoParts = { wasm, gpu, findGpu, now, known: new Map(), calibrations: undefined, ...changes };
  return { clock, wasm, gpu, asked, parts, backend: autoBackendOf(parts) };
}

/** What is noted of a run. */
async function noteOf(session: Session, batch: Batch): Promise<RunNote> {
  const notes: RunNote[] = [];
  const result = await session.run(batch, (note) => notes.push(note));
  assert.equal(result, Float32Array.of(batch.sizes.E));
  assert.is(notes.length, 1);
  return notes[0];
}

const ON_WASM = { backend: "wasm" };
const ON_GPU = { backend: "ort-webgpu" };

test("light batches ask for no GPU, load nothing and have no session there", async () => {
  const { gpu, asked, backend } = start();
  const session = await backend.createSession(program);
  for (let i = 0; i < 100; i++) assert.equal(await noteOf(session, LIGHT), ON_WASM);
  assert.is(asked.count, 0);
  assert.is(gpu.runs, 0);
});

test("without WebGPU: Wasm's bits, records that name it, onnxruntime not loaded", async () => {
  const model = await exampleModel();
  const structures = exampleStructures();
  const ort = () => Promise.reject(new Error("loaded"));
  const auto = await predict(model, structures, { backend: autoBackend({ ort }) });
  const wasm = await predict(model, structures);
  const shown = (records: typeof auto) => JSON.stringify(records.map((record) => ({ ...record, elapsedMs: 0 })));
  assert.is(shown(auto), shown(wasm));
});

test("either side of the threshold", async () => {
  const calibration: Calibration = { wasmRate: 50e6, gpuRate: 400e6, nodeMs: 1.5 };
  // launches + work / gpuRate = work / wasmRate
  const threshold = (nodes * 1.5) / (1 / 50e6 - 1 / 400e6);
  assert.ok(threshold > 7e9 && threshold < 30e9, `${threshold}`);
  const { gpu, backend } = start({ known: new Map([[DEVICE, Promise.resolve(calibration)]]) });
  const session = await backend.createSession(program);
  assert.equal(await noteOf(session, batchOf(0.999 * threshold)), ON_WASM);
  assert.equal(await noteOf(session, batchOf(1.001 * threshold)), ON_GPU);
  assert.is(gpu.runs, 1);
});

test("values are computed where runs are", async () => {
  const { gpu, wasm, backend } = start({
    known: new Map([[DEVICE, Promise.resolve({ wasmRate: 6e7, gpuRate: 1e9, nodeMs: 0.1 })]]),
  });
  const session = await backend.createSession(program);
  const notes: RunNote[] = [];
  for (const batch of [LIGHT, HEAVY]) {
    const values = await session.values(batch, ["atoms"], (note) => notes.push(note));
    assert.equal([...values.keys()], ["atoms"]);
  }
  assert.equal(notes, [ON_WASM, ON_GPU]);
  assert.equal([wasm.runs, gpu.runs], [1, 1]);
});

test("measured once, by whoever comes first", async () => {
  const { gpu, asked, backend } = start();
  const sessions = await Promise.all([backend.createSession(program), backend.createSession(program)]);
  const notes = await Promise.all([...sessions, ...sessions].map((session) => noteOf(session, HEAVY)));
  assert.equal(notes, [ON_GPU, ON_GPU, ON_GPU, ON_GPU]);
  assert.is(asked.count, 1);
  assert.is(gpu.events.filter((event) => event === "the calibration disposed").length, 1);
});

test("another backend of the same process does not measure", async () => {
  const known: AutoParts["known"] = new Map();
  for (const measures of [true, false]) {
    const { gpu, backend } = start({ known });
    await noteOf(await backend.createSession(program), HEAVY);
    assert.is(gpu.events.includes("the calibration runs"), measures);
  }
});

test("a GPU that is faster: near its rate; its shader compilation does not count", async () => {
  const { wasm, gpu, clock } = start();
  let first = true;
  gpu.failing = () => {
    if (first) clock.ms += 600;
    first = false;
    return undefined;
  };
  const { wasmRate, gpuRate, nodeMs } = await calibrate(wasm, gpu, () => clock.ms);
  assert.ok(clock.ms < 2000, `${clock.ms} ms`);
  assert.ok(Math.abs(wasmRate / WASM.rate - 1) < 1e-9);
  assert.ok(gpuRate > 0.3 * FAST.rate && gpuRate <= FAST.rate, `${gpuRate}`);
  assert.ok(nodeMs >= FAST.nodeMs && nodeMs < 1.2 * FAST.nodeMs, `${nodeMs}`);
});

test("a hopeless GPU: the smallest batch alone is tried, and its memory is given back", async () => {
  const { gpu, wasm, backend, clock } = start({ speed: SLOW });
  const session = await backend.createSession(program);
  assert.equal(await noteOf(session, HEAVY), ON_WASM);
  assert.equal(gpu.events, [
    "the calibration runs",
    "the calibration runs",
    "the calibration disposed",
    "backend disposed",
  ]);
  const spent = clock.ms - work(HEAVY.sizes) / WASM.rate;
  assert.ok(spent < 1000, `${spent} ms`);
  assert.equal(wasm.events.at(-1), "the program runs");
});

test("a clock of 100 ms gives numbers", async () => {
  const { wasm, gpu, clock } = start();
  const calibration = await calibrate(wasm, gpu, () => 100 * Math.floor(clock.ms / 100));
  for (const value of Object.values(calibration)) assert.ok(value > 0 && Number.isFinite(value));
});

test("what is kept is used by the next process", async () => {
  const calibrations = new Map<string, string>();
  for (const measures of [true, false]) {
    const { gpu, backend } = start({ calibrations });
    assert.equal(await noteOf(await backend.createSession(program), HEAVY), ON_GPU);
    assert.is(gpu.events.includes("the calibration runs"), measures);
  }
  const [[name, text]] = calibrations;
  assert.is(name, `unitcell-calibration-a-GPU-wasm-unitcell-${VERSION}.json`);
  assert.equal(Object.keys(JSON.parse(text)), ["device", "wasmRate", "gpuRate", "nodeMs"]);
});

const GOOD = { device: DEVICE, wasmRate: 6e7, gpuRate: 1, nodeMs: 1 };
const WRONG: [name: string, kept: unknown][] = [
  ["cut off", JSON.stringify(GOOD).slice(0, -4)],
  ["of nothing", ""],
  ["null", "null"],
  ["no text", GOOD],
  ["of another device", JSON.stringify({ ...GOOD, device: DEVICE.replace("a GPU", "another") })],
  ["of another version", JSON.stringify({ ...GOOD, device: "a GPU, wasm, unitcell 0.0.9" })],
  ["of other kernels", JSON.stringify({ ...GOOD, device: DEVICE.replace("wasm", "wasm-relaxed") })],
  ["without a rate", JSON.stringify({ ...GOOD, gpuRate: undefined })],
  ["with a rate as text", JSON.stringify({ ...GOOD, gpuRate: "1" })],
  ["with a rate of 0", JSON.stringify({ ...GOOD, wasmRate: 0 })],
  ["with a negative time", JSON.stringify({ ...GOOD, nodeMs: -1 })],
  ["with an infinite rate", JSON.stringify(GOOD).replace("60000000", "1e999")],
];
for (const [name, kept] of WRONG)
  test(`a kept calibration ${name} is measured anew`, async () => {
    let written: string | undefined;
    const calibrations = {
      get: () => kept,
      set: (_: string, text: string) => {
        written = text;
      },
    };
    const { backend } = start({ calibrations });
    assert.equal(await noteOf(await backend.createSession(program), HEAVY), ON_GPU);
    assert.ok(JSON.parse(written!).gpuRate > 1e8);
  });

test("that one, whole, is believed", async () => {
  const { gpu, backend } = start({ calibrations: { get: () => JSON.stringify(GOOD), set: () => undefined } });
  assert.equal(await noteOf(await backend.createSession(program), HEAVY), ON_WASM);
  assert.is(gpu.runs, 0);
});

test("a cache that fails does not matter", async () => {
  const fail = () => {
    throw new Error("no place");
  };
  const caches: CalibrationCache[] = [
    { get: fail, set: fail },
    { get: async () => fail(), set: async () => fail() },
  ];
  for (const calibrations of caches) {
    const { backend } = start({ calibrations });
    assert.equal(await noteOf(await backend.createSession(program), HEAVY), ON_GPU);
  }
});

test("where there is no GPU: Wasm, without a word, and it is not asked for again", async () => {
  const asked = { count: 0 };
  const findGpu = async () => {
    asked.count++;
    return undefined;
  };
  const { gpu, backend } = start({ findGpu });
  const session = await backend.createSession(program);
  for (let i = 0; i < 3; i++) assert.equal(await noteOf(session, HEAVY), ON_WASM);
  assert.is(asked.count, 1);
  assert.is(gpu.runs, 0);
});

const FAILURES: [name: string, failing: () => RunNote][] = [
  [
    "whose batches the fallback computed",
    () => ({ backend: "wasm", warning: { code: "backend-failed", message: "the GPU was lost" } }),
  ],
  [
    "whose runtime cannot be loaded",
    () => {
      throw new TypeError("the GPU was lost");
    },
  ],
];
for (const [name, failing] of FAILURES)
  test(`a GPU ${name} while it is measured: Wasm, tried once more, told each time`, async () => {
    const calibrations = new Map<string, string>();
    const { gpu, asked, backend } = start({ calibrations });
    gpu.failing = failing;
    const session = await backend.createSession(program);
    const message = "the GPU was not measured: the GPU was lost; computed by wasm";
    const told = { backend: "wasm", warning: { code: "backend-failed", message } };
    assert.equal(await Promise.all([noteOf(session, HEAVY), noteOf(session, HEAVY)]), [told, told]);
    assert.equal([gpu.runs, asked.count], [1, 1]);
    for (let again = 0; again < 3; again++) assert.equal(await noteOf(session, HEAVY), told);
    assert.equal([gpu.runs, asked.count], [2, 2]);
    assert.equal(await noteOf(session, LIGHT), ON_WASM);
    assert.is(gpu.events.at(-1), "backend disposed");
    assert.is(calibrations.size, 0);
    gpu.failing = undefined;
    await backend.dispose();
    assert.equal(await noteOf(session, HEAVY), ON_GPU, "after dispose it is tried again");
    assert.is(calibrations.size, 1);
  });

test("a GPU that is there and refused is told", async () => {
  const findGpu = () => Promise.reject(new UnitcellError("BACKEND", "the GPU cannot be opened: busy"));
  const { backend } = start({ findGpu });
  const session = await backend.createSession(program);
  const { warning } = await noteOf(session, HEAVY);
  assert.is(warning?.message, "the GPU was not measured: the GPU cannot be opened: busy; computed by wasm");
});

test("what failed for another backend is measured by oneself, what it measured is kept in one's own cache", async () => {
  const known: AutoParts["known"] = new Map();
  const one = start({ known });
  one.gpu.failing = FAILURES[0][1];
  const calibrations = new Map<string, string>();
  const two = start({ known, calibrations });
  const sessions = [await one.backend.createSession(program), await two.backend.createSession(program)];
  const [told, own] = await Promise.all(sessions.map((session) => noteOf(session, HEAVY)));
  assert.is(told.warning?.code, "backend-failed");
  assert.equal(own, ON_GPU);
  const three = start({ known, calibrations: new Map() });
  assert.equal(await noteOf(await three.backend.createSession(program), HEAVY), ON_GPU);
  assert.ok(!three.gpu.events.includes("the calibration runs"));
  assert.equal([calibrations.size, (three.parts.calibrations as Map<string, string>).size], [1, 1]);
});

test("dispose waits for a batch that waits for the calibration", async () => {
  for (let ticks = 0; ticks < 40; ticks++) {
    const { gpu, backend } = start();
    const session = await backend.createSession(program);
    const run = noteOf(session, HEAVY);
    for (let i = 0; i < ticks; i++) await Promise.resolve();
    await backend.dispose();
    assert.is(gpu.events.at(-1), "backend disposed", `${ticks}`);
    assert.equal(await run, ON_GPU);
    assert.is(gpu.events.at(-1), "backend disposed", `${ticks}`);
  }
});

test("a Wasm session that could not be made is made for the next batch", async () => {
  const { wasm, backend } = start();
  const make = wasm.createSession.bind(wasm);
  let tries = 0;
  wasm.createSession = async (made) => {
    if (++tries === 1) throw new RangeError("out of memory");
    return make(made);
  };
  const session = await backend.createSession(program);
  await session.run(LIGHT).then(
    () => assert.unreachable(),
    (error) => assert.instance(error, RangeError),
  );
  assert.equal(await noteOf(session, LIGHT), ON_WASM);
  await backend.dispose();
  assert.is(wasm.events.at(-1), "the program disposed");
  await noteOf(session, LIGHT);
  await session.dispose();
  assert.is(tries, 3);
});

test("what the GPU's backend says of a batch is passed on", async () => {
  const { gpu, backend } = start();
  const session = await backend.createSession(program);
  await noteOf(session, HEAVY);
  const said: RunNote = { backend: "wasm", warning: { code: "backend-failed", message: "lost; computed by wasm" } };
  gpu.failing = () => said;
  assert.equal(await noteOf(session, HEAVY), said);
});

test("batches become larger once the GPU would win with large ones", async () => {
  const at = async (calibration: Calibration, batch: Batch) => {
    const { backend } = start({ known: new Map([[DEVICE, Promise.resolve(calibration)]]) });
    const session = await backend.createSession(program);
    assert.is(session.goodBytes, 64 * MIB);
    const { backend: where } = await noteOf(session, batch);
    return [where, session.goodBytes / MIB];
  };
  // A batch of a tenth of what the GPU likes, by its bytes, which are its bonds here.
  const tenth: Batch = { ...HEAVY, sizes: { ...HEAVY.sizes, E: 25.6 * MIB } };
  const all = work(tenth.sizes);
  const wins = { wasmRate: 50e6, gpuRate: 5e9 };
  assert.equal(await at({ ...wins, nodeMs: (0.5 * all) / 50e6 / nodes }, tenth), ["ort-webgpu", 256]);
  assert.equal(await at({ ...wins, nodeMs: (2 * all) / 50e6 / nodes }, tenth), ["wasm", 256]);
  assert.equal(await at({ ...wins, nodeMs: (20 * all) / 50e6 / nodes }, tenth), ["wasm", 64]);
  assert.equal(await at({ wasmRate: 50e6, gpuRate: 50e6, nodeMs: 0.1 }, tenth), ["wasm", 64]);
  assert.equal(await at({ ...wins, nodeMs: 0.1 }, LIGHT), ["wasm", 64]);
});

test("disposed of: both sessions, and nothing runs any more; the backend gives the GPU back", async () => {
  const { gpu, wasm, backend } = start();
  const session = await backend.createSession(program);
  await noteOf(session, HEAVY);
  assert.not(wasm.events.includes("the program runs"));
  await noteOf(session, LIGHT);
  const last = noteOf(session, HEAVY);
  await session.dispose();
  assert.equal(await last, ON_GPU);
  for (const { events } of [gpu, wasm]) assert.is(events.at(-1), "the program disposed");
  await throwsCode(() => session.run(LIGHT), "ARGUMENT", /disposed/);
  await throwsCode(() => session.run(HEAVY), "ARGUMENT", /disposed/);
  await backend.dispose();
  assert.is(gpu.events.at(-1), "backend disposed");
  assert.equal(await noteOf(await backend.createSession(program), HEAVY), ON_GPU);
});

test("names: automatic, and forced as what runs", () => {
  const ort = () => Promise.reject(new Error("loaded"));
  assert.is(autoBackend({ ort }).name, "auto");
  assert.match(autoBackend({ ort, use: "wasm" }).name, /^wasm(-relaxed)?$/);
  assert.is(autoBackend({ ort, use: "webgpu" }).name, "ort-webgpu");
});

test("another use is refused", () =>
  throwsCode(
    async () => autoBackend({ ort: () => Promise.reject(), use: "gpu" as AutoOptions["use"] & string }),
    "ARGUMENT",
    /use must be auto, wasm or webgpu, found gpu/,
  ));

test("forced onto the GPU, onnxruntime is loaded for the lightest batch", async () => {
  const backend = autoBackend({ ort: () => Promise.reject(new Error("not there")), use: "webgpu" });
  const [structure] = exampleStructures();
  const [{ warnings }] = await predict(await exampleModel(), [structure], { backend });
  const failed = warnings.find(({ code }) => code === "backend-failed");
  assert.match(failed!.message, /not there/);
});

test("gpuWins by hand", () => {
  const calibration = { wasmRate: 10, gpuRate: 100, nodeMs: 1 };
  assert.is(gpuWins(calibration, 100, 8), true); // 8 + 1 < 10
  assert.is(gpuWins(calibration, 100, 9), false); // 9 + 1 = 10
});

test.run();
