/**
 * The built pool: the records of predictStream in their order, whatever happens to the workers; bounded memory; what is
 * sent. Browsers and other runtimes: pool-browser.test.ts, pool-runtimes.test.ts. Run after a build.
 */
import { readFileSync } from "node:fs";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { Worker, type WorkerOptions } from "node:worker_threads";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { ensemble } from "../src/ensemble.js";
import { UnitcellError } from "../src/errors.js";
import { loadModel } from "../src/load-model.js";
import type { Model } from "../src/models/model.js";
import { inOrder } from "../src/pool/in-order.js";
import type { ToWorker } from "../src/pool/messages.js";
import { createPool, type Pool, type PoolInput, type PoolOptions, type StructureText } from "../src/pool/pool.js";
import { type PredictOptions, predict, predictStream } from "../src/predict.js";
import type { FailedPrediction, Prediction } from "../src/prediction.js";
import { PredictionCache } from "../src/prediction-cache.js";
import { seededRandom } from "../src/random.js";
import { parseEach } from "../src/structures/parse.js";
import type { Structure, UnreadStructure } from "../src/structures/structure.js";
import { exampleModel, exampleStructures } from "./examples.js";
import { fixtureBytes, fixtureNames, fixtureText, haveFixtures } from "./fixtures.js";
import { throwsCode } from "./throws.js";

const WORKER = new URL(`file://${process.cwd()}/dist/pool-worker.js`);
/** As the default, which looks for its worker beside the built file. */
const builtWorker = () => new Worker(WORKER);

type Record = Prediction | FailedPrediction;

const withoutTime = (record: Record) => {
  const { elapsedMs: _, ...rest } = record as Prediction;
  return rest;
};

async function all<T>(stream: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = [];
  for await (const item of stream) items.push(item);
  return items;
}

const cgcnn = await exampleModel("cgcnn_ionic_best.pt", { sha256: "a".repeat(64), name: "cgcnn" });
const alignn = await exampleModel("alignn_ionic_best.pt", { sha256: "b".repeat(64), name: "alignn" });
const megnet = await exampleModel("megnet_ionic_best.pt", { sha256: "c".repeat(64), name: "megnet" });
const examples = exampleStructures();
/** All distinct: the examples, a little larger each time round. */
const many = (count: number): Structure[] =>
  Array.from({ length: count }, (_, i) => {
    const one = examples[i % examples.length];
    const factor = 1 + 1e-4 * Math.floor(i / examples.length);
    return { ...one, id: `${i}`, lattice: one.lattice.map((x) => x * factor) };
  });

async function withPool<T>(options: PoolOptions, use: (pool: Pool) => Promise<T>): Promise<T> {
  const pool = await createPool({ worker: builtWorker, ...options });
  try {
    return await use(pool);
  } finally {
    await pool.close();
  }
}

async function sameAsPredict(
  model: Parameters<typeof predictStream>[0],
  inputs: readonly (Structure | UnreadStructure)[],
  options: PredictOptions = {},
  sent: readonly PoolInput[] = inputs,
): Promise<number> {
  const expected = (await all(predictStream(model, inputs, options))).map(withoutTime);
  const found = await withPool({ workers: 2 }, (pool) => all(pool.predictStream(model, sent, options)));
  assert.equal(found.map(withoutTime), expected);
  return expected.length;
}

// The same records.

if (haveFixtures("structures")) {
  const texts: StructureText[] = fixtureNames("structures")
    .filter((name) => /\.(cif|vasp|extxyz)$/.test(name))
    .map((filename) => ({ filename, text: fixtureText(`structures/${filename}`) }));
  const structures = texts.flatMap(({ text, filename }) => [...parseEach(text, { filename: filename! })]);
  const load = (path: string, options = {}) => loadModel(fixtureBytes(path), options);
  const rows: [name: string, model: () => Promise<Model>, options?: PredictOptions][] = [
    ["CGCNN", () => load("cgcnn/formation-energy-per-atom.pth.tar")],
    ["CGCNN with ranges over ties", () => load("cgcnn/band-gap.pth.tar"), { tieRange: true, maxAtoms: 100 }],
    ["CGCNN classifier", () => load("cgcnn/semi-metal-classification.pth.tar")],
    ["ALIGNN", () => load("alignn/atomwise_graph/best_model.pt")],
    ["ALIGNN of the examples", async () => alignn],
    ["MEGNet", () => load("megnet/state.pt")],
    ["MEGNet of the examples", async () => megnet],
  ];
  for (const [name, model, options] of rows)
    test(`${name}: all shared structures, parsed here and parsed there, in order and to the bit`, async () => {
      const network = await model();
      assert.is(await sameAsPredict(network, structures, options), structures.length);
      await sameAsPredict(network, structures, options, texts);
    });
}

test("an ensemble; what could not be read and what cannot be predicted in their places", async () => {
  const [good] = examples;
  const inputs = [
    ...many(30),
    { id: "unread", error: new UnitcellError("CORRUPT", "line 3: no number") },
    { error: new UnitcellError("UNSUPPORTED", "no id") },
    { ...good, id: "heavy", numbers: good.numbers.map(() => 101) },
    { ...good, id: "flat", lattice: good.lattice.map(() => 1) },
    { ...good, id: "plain arrays", fracCoords: [...good.fracCoords] } as unknown as Structure,
    { ...good, id: "no pbc", pbc: undefined } as unknown as Structure,
    ...many(30),
  ];
  await sameAsPredict(ensemble([cgcnn, alignn, megnet], { calibration: 2, name: "all three" }), inputs);
});

test("texts: several structures in one, none, a broken one, a long one that is parsed on this side", async () => {
  const cif = readFileSync("examples/structures/CsCl.cif", "utf8");
  const block = cif.slice(cif.indexOf("data_"));
  const texts: StructureText[] = [
    {
      filename: "three.cif",
      text: `${block}\n${block.replace("data_", "data_b")}\n${block.replace("data_", "data_c")}`,
    },
    { filename: "empty.cif", text: "" },
    { format: "poscar", text: "no\nnumber" },
    { filename: "long.cif", text: `${cif}\n#${"x".repeat(100_000)}\n` },
    { filename: "unknown.dat", text: "?" },
  ];
  const structures = texts.flatMap((text) => [...parseEach(text.text, text)]);
  assert.is(await sameAsPredict(cgcnn, structures, {}, texts), 7);
});

test("predict gives the records, or throws the first error with its structure's id", async () =>
  withPool({ workers: 2 }, async (pool) => {
    const structures = many(50);
    assert.equal(
      (await pool.predict(cgcnn, structures)).map(withoutTime),
      (await predict(cgcnn, structures)).map(withoutTime),
    );
    const heavy = { ...examples[0], id: "heavy", numbers: examples[0].numbers.map(() => 101) };
    await throwsCode(() => pool.predict(cgcnn, [...structures, heavy]), "UNSUPPORTED", /^heavy: .* has no Md/);
    assert.equal(await pool.predict(cgcnn, []), []);
    await throwsCode(() => pool.predict(cgcnn, structures, { maxAtoms: 0 }), "ARGUMENT", /maxAtoms/);
    await throwsCode(() => pool.predict(cgcnn, structures, { state: 1 }), "ARGUMENT", /no model has states/);
  }));

test("two streams of two models at once", async () =>
  withPool({ workers: 2 }, async (pool) => {
    const structures = many(100);
    const models = [cgcnn, megnet];
    const found = await Promise.all(models.map((model) => pool.predict(model, structures)));
    for (const [i, model] of models.entries())
      assert.equal(found[i].map(withoutTime), (await predict(model, structures)).map(withoutTime));
  }));

// Workers that end.

/** A worker that first hears what it is sent itself: `orders` is run with each message `m`, then the pool's own code. */
function strange(orders: string, options: WorkerOptions = {}): Worker {
  const code = `
    import { parentPort, workerData } from "node:worker_threads";
    const has = (m, id) => m.type === "predict" && m.items.some((item) => item.id === id);
    parentPort.on("message", (m) => { ${orders} });
    await import(${JSON.stringify(WORKER.href)});`;
  return new Worker(new URL(`data:text/javascript,${encodeURIComponent(code)}`), { stderr: true, ...options });
}

test("a worker terminated in the middle: nothing is lost, nothing is there twice", async () => {
  const structures = many(400);
  const workers: Worker[] = [];
  const worker = () => {
    const made = new Worker(WORKER);
    workers.push(made);
    return made;
  };
  const found: Record[] = [];
  await withPool({ workers: 2, worker }, async (pool) => {
    for await (const record of pool.predictStream(cgcnn, structures)) {
      found.push(record);
      if (found.length === 40) void workers[0].terminate();
      if (found.length === 200) for (const one of workers) void one.terminate();
    }
  });
  assert.equal(found.map(withoutTime), (await predict(cgcnn, structures)).map(withoutTime));
  assert.ok(workers.length >= 4, `${workers.length} workers were made`);
});

test("workers terminated at random: every structure has its record, its own, in its place", async () => {
  const structures = many(600);
  const expected = (await predict(cgcnn, structures)).map(withoutTime);
  const random = seededRandom(7);
  for (const workers of [1, 2, 5]) {
    const ready: Worker[] = [];
    const worker = () => {
      const made = builtWorker();
      made.once("message", () => ready.push(made));
      return made;
    };
    let kills = 0;
    const found = await withPool({ workers, worker }, async (pool) => {
      const timer = setInterval(() => {
        const [victim] = ready.splice(Math.floor(random() * ready.length), 1);
        if (!victim || kills === 12) return;
        kills++;
        void victim.terminate();
      }, 20);
      const records = await all(pool.predictStream(cgcnn, structures));
      clearInterval(timer);
      return records;
    });
    assert.ok(kills > 0);
    assert.is(found.length, structures.length);
    // A worker that is terminated over a chunk, then others over single structures of it: these have errors.
    let errors = 0;
    for (const [i, record] of found.entries())
      if (!("error" in record)) assert.equal(withoutTime(record), expected[i]);
      else {
        assert.equal([record.id, record.error.code], [`${i}`, "BACKEND"]);
        errors++;
      }
    assert.ok(errors < kills, `${errors} errors, ${kills} workers terminated`);
  }
});

const LIMITS = { resourceLimits: { maxOldGenerationSizeMb: 60 } };
const ends: [name: string, end: string, reason: RegExp, options?: WorkerOptions][] = [
  ["process.exit", "process.exit(7)", /exit code 7/],
  ["an error that nobody catches", 'throw new Error("bang")', /bang/],
  ["no memory", "const all = []; for (;;) all.push(new Array(1e5).fill(all.length))", /memory/i, LIMITS],
  ["a defect", 'parentPort.postMessage({ type: "failed", message: "no function" })', /no function/],
];
for (const [name, end, reason, options] of ends) {
  test(`${name}, once: the structures are tried again`, async () => {
    const structures = many(60);
    let made = 0;
    const workerData = new Int32Array(new SharedArrayBuffer(4));
    const worker = () => {
      made++;
      return strange(`if (has(m, "17") && Atomics.add(workerData, 0, 1) === 0) { ${end} }`, { ...options, workerData });
    };
    const found = await withPool({ workers: 2, worker }, (pool) => pool.predict(cgcnn, structures));
    assert.equal(found.map(withoutTime), (await predict(cgcnn, structures)).map(withoutTime));
    assert.is(made, 3);
  });

  test(`${name}, always over one structure: that one is an error record, the others are predicted`, async () => {
    const structures = many(60);
    let made = 0;
    const worker = () => {
      made++;
      return strange(`if (has(m, "17")) { ${end} }`, options);
    };
    const found = await withPool({ workers: 2, worker }, (pool) => all(pool.predictStream(cgcnn, structures)));
    const { id, error } = found[17] as FailedPrediction;
    assert.is(id, "17");
    assert.is(error.code, "BACKEND");
    assert.match(error.message, /two workers ended over this structure/);
    assert.match(error.message, reason);
    const others = (records: readonly Record[]) => records.filter((_, i) => i !== 17).map(withoutTime);
    assert.equal(others(found), others(await predict(cgcnn, structures)));
    // Two ended over 17. The second may have been needed no more; or the last answer of the first was lost, and what it
    // was about was tried again before 17's turn came.
    assert.ok(made >= 3 && made <= 5, `${made} workers`);
  });
}

test("a text that always ends its worker is an error record with the file's name", async () => {
  const cif = readFileSync("examples/structures/CsCl.cif", "utf8");
  const worker = () => strange('if (m.items?.some((item) => item.filename === "b.cif")) process.exit(1)');
  const texts = ["a", "b", "c"].map((name) => ({ filename: `${name}.cif`, text: cif }));
  const found = await withPool({ workers: 1, worker }, (pool) => all(pool.predictStream(cgcnn, texts)));
  assert.equal(
    found.map((record) => [record.id, (record as FailedPrediction).error?.code]),
    [
      ["a", undefined],
      ["b", "BACKEND"],
      ["c", undefined],
    ],
  );
});

test("a model that no worker can run: an error record for every structure", async () => {
  const { program } = cgcnn;
  const broken = {
    ...cgcnn,
    program: { ...program, nodes: [{ ...program.nodes[0], op: "nonsense" }] },
  } as unknown as Model;
  const found = await withPool({ workers: 2 }, (pool) => all(pool.predictStream(broken, many(3))));
  assert.equal(
    found.map((record) => [record.id, (record as FailedPrediction).error.code]),
    ["0", "1", "2"].map((id) => [id, "BACKEND"]),
  );
});

test("workers that cannot be started, at first and later", async () => {
  const absent = () => new Worker(new URL("./no-such-worker.js", WORKER));
  await throwsCode(
    () => createPool({ workers: 2, worker: absent }),
    "BACKEND",
    /could not be started: .*no-such-worker/,
  );
  const refused = () => {
    throw new Error("not allowed");
  };
  await throwsCode(() => createPool({ worker: refused }), "BACKEND", /could not be started: not allowed/);
  const early = () => new Worker("process.exit(2)", { eval: true });
  await throwsCode(() => createPool({ workers: 1, worker: early }), "BACKEND", /exit code 2/);
  for (const workers of [0, -1, 1.5, Number.NaN])
    await throwsCode(() => createPool({ workers }), "ARGUMENT", /positive integer/);

  let made = 0;
  const worker = () => (++made > 2 ? absent() : strange('if (has(m, "17")) process.exit(7)'));
  await withPool({ workers: 2, worker }, async (pool) => {
    const found: Record[] = [];
    const collect = async () => {
      for await (const record of pool.predictStream(cgcnn, many(60))) found.push(record);
    };
    // The first to end cannot be replaced, and the second ends over the structure alone: that is its second time.
    await throwsCode(collect, "BACKEND", /could not be started/);
    assert.ok(found.length < 60);
    await throwsCode(() => pool.predict(cgcnn, examples), "BACKEND", /could not be started/);
  });
});

test("what cannot be sent is thrown", async () =>
  withPool({ workers: 1 }, async (pool) => {
    const odd = { ...examples[0], id: () => {} } as unknown as Structure;
    try {
      await pool.predict(cgcnn, [odd]);
      assert.unreachable();
    } catch (error) {
      assert.is((error as Error).name, "DataCloneError");
    }
    assert.is((await pool.predict(cgcnn, examples)).length, examples.length);
  }));

// Streams.

test("aborted in the middle: the reason is thrown at once, the source is closed, and the pool goes on", async () =>
  withPool({ workers: 2 }, async (pool) => {
    const abort = new AbortController();
    let closed = false;
    function* source() {
      try {
        for (;;) yield* examples;
      } finally {
        closed = true;
      }
    }
    let done = 0;
    const reason = new Error("enough");
    try {
      for await (const _ of pool.predictStream(cgcnn, source(), { signal: abort.signal }))
        if (++done === 100) abort.abort(reason);
      assert.unreachable();
    } catch (error) {
      assert.is(error, reason);
    }
    assert.ok(done < 100 + 256, `${done}`);
    assert.ok(closed);
    try {
      await pool.predict(cgcnn, examples, { signal: AbortSignal.abort() });
      assert.unreachable();
    } catch (error) {
      assert.is((error as Error).name, "AbortError");
    }
    assert.equal(
      (await pool.predict(cgcnn, examples)).map(withoutTime),
      (await predict(cgcnn, examples)).map(withoutTime),
    );
  }));

test("aborted while the source is waited for", async () =>
  withPool({ workers: 1 }, async (pool) => {
    const abort = new AbortController();
    async function* silent() {
      yield* examples;
      await new Promise(() => {});
    }
    setTimeout(() => abort.abort(), 50);
    try {
      await pool.predict(cgcnn, silent(), { signal: abort.signal });
      assert.unreachable();
    } catch (error) {
      assert.is((error as Error).name, "AbortError");
    }
  }));

test("an endless stream is read only so far ahead, however slow its reader", async () =>
  withPool({ workers: 2 }, async (pool) => {
    let read = 0;
    let atoms = 0;
    let closed = false;
    function* endless() {
      try {
        for (;;) {
          const structure = examples[read++ % examples.length];
          atoms += structure.numbers.length;
          yield structure;
        }
      } finally {
        closed = true;
      }
    }
    let [done, doneAtoms, most] = [0, 0, 0];
    for await (const record of pool.predictStream(cgcnn, endless())) {
      done++;
      doneAtoms += (record as Prediction).sites;
      most = Math.max(most, atoms - doneAtoms);
      if (done % 500 === 0) await new Promise((resolve) => setTimeout(resolve, 30));
      if (done === 3000) break;
    }
    // Four chunks for each worker, one at the reader, one being put together; a chunk has at most 256 atoms.
    assert.ok(most <= (2 * 4 + 2) * 256, `${most} atoms were read and not given back`);
    assert.ok(closed);
  }));

test("a stream of errors is not held back", async () =>
  withPool({ workers: 1 }, async (pool) => {
    let read = 0;
    function* broken() {
      for (;;) yield { id: `${read++}`, error: new UnitcellError("CORRUPT", "no") };
    }
    for await (const { id } of pool.predictStream(cgcnn, broken())) if (id === "1000") break;
    assert.ok(read < 1000 + 6 * 256, `${read}`);
  }));

test("an error of the source is thrown in its turn", async () =>
  withPool({ workers: 2 }, async (pool) => {
    const error = new Error("the source's own");
    async function* failing() {
      yield* many(100);
      throw error;
    }
    let done = 0;
    try {
      for await (const _ of pool.predictStream(cgcnn, failing())) done++;
      assert.unreachable();
    } catch (found) {
      assert.is(found, error);
    }
    assert.ok(done > 50, `${done} of 100: all but those of the chunk that was not complete`);
  }));

test("inOrder: results in order however long each takes, at most so many at once", async () => {
  let [running, most] = [0, 0];
  async function* numbers() {
    for (let i = 0; i < 50; i++) yield i;
  }
  const work = async (i: number) => {
    most = Math.max(most, ++running);
    await new Promise((resolve) => setTimeout(resolve, (i * 7) % 5));
    running--;
    return i;
  };
  assert.equal(
    await all(inOrder(numbers(), work, { atOnce: 3, signal: undefined, abandon: () => {} })),
    Array.from({ length: 50 }, (_, i) => i),
  );
  assert.is(most, 3);
});

test("close ends what is in work; disposal closes", async () => {
  const pool = await createPool({ workers: 2, worker: builtWorker });
  const work = pool.predict(cgcnn, many(1000));
  setTimeout(() => pool.close(), 30);
  await throwsCode(() => work, "ARGUMENT", /closed/);
  await throwsCode(() => pool.predict(cgcnn, examples), "ARGUMENT", /closed/);
  await pool.close();
  const other = await createPool({ workers: 1, worker: builtWorker });
  await other[Symbol.asyncDispose]();
  await throwsCode(() => other.predict(cgcnn, examples), "ARGUMENT", /closed/);
});

// What is sent.

/** A pool whose messages are noted, by worker. */
function spied(workers: number) {
  const sent: ToWorker[][] = [];
  const worker = () => {
    const messages: ToWorker[] = [];
    sent.push(messages);
    const made = new Worker(WORKER);
    const post = made.postMessage.bind(made);
    made.postMessage = (message: ToWorker) => {
      messages.push(message);
      post(message);
    };
    return made;
  };
  const of = <Type extends ToWorker["type"]>(type: Type) =>
    sent.map((messages) => messages.filter((m): m is Extract<ToWorker, { type: Type }> => m.type === type));
  return { options: { workers, worker }, of };
}

const buffersOf = ({ program }: Model) => [...new Set([...program.params.values()].map(({ data }) => data.buffer))];

test("a model is sent to each worker once, alone or in ensembles, all its weights in one shared buffer", async () => {
  const { options, of } = spied(2);
  await withPool(options, async (pool) => {
    await pool.predict(cgcnn, many(200));
    await pool.predict(ensemble([cgcnn, megnet]), many(200));
    await pool.predict(megnet, many(200));
  });
  const models = of("model");
  assert.equal(
    models.map((list) => list.map(({ model }) => model.name)),
    [
      ["cgcnn", "megnet"],
      ["cgcnn", "megnet"],
    ],
  );
  assert.ok(of("predict").every((list) => list.length > 5));
  for (const [k, own] of [cgcnn, megnet].entries()) {
    const [buffer, ...others] = models.flatMap((list) => buffersOf(list[k].model));
    assert.ok(buffer instanceof SharedArrayBuffer);
    assert.is(
      buffer.byteLength,
      [...own.program.params.values()].reduce((sum, { data }) => sum + data.byteLength, 0),
    );
    for (const other of others) assert.is(other, buffer);
    assert.not(buffersOf(own).includes(buffer as unknown as ArrayBuffer));
  }
});

test("workers see the same memory: what one writes into the weights, the other reads", async () => {
  const params = "const params = [...m.model.program.params.values()].map(({ data }) => data);";
  const writer = () => strange(`if (m.type === "model") { ${params} for (const data of params) data.fill(0); }`);
  // It ends where it finds a weight that is not 0.
  const reader = () =>
    strange(`
      if (m.type === "model") { ${params} globalThis.weights = params; }
      if (has(m, "checked") && weights.some((data) => data.some((x) => x !== 0))) process.exit(9);`);
  let made = 0;
  await withPool({ workers: 2, worker: () => (made++ === 0 ? writer() : reader()) }, async (pool) => {
    await pool.predict(cgcnn, many(200));
    await pool.predict(
      cgcnn,
      many(200).map((structure) => ({ ...structure, id: "checked" })),
    );
  });
  assert.is(made, 2);
});

test("a model that nobody holds any more is forgotten by the workers", async () => {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  const { options, of } = spied(1);
  await withPool(options, async (pool) => {
    await (async () => pool.predict(await exampleModel(), examples))();
    for (let i = 0; i < 100 && of("forget")[0].length === 0; i++) {
      collect();
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    assert.equal(
      of("forget")[0].map(({ id }) => id),
      of("model")[0].map(({ id }) => id),
    );
  });
});

test("records of the cache are not computed again, and what is computed is added", async () => {
  const structures = many(100);
  const cache = await PredictionCache.load();
  await predict(
    cgcnn,
    structures.filter((_, i) => i % 2),
    { cache },
  );
  const { options, of } = spied(2);
  const found = await withPool(options, (pool) => pool.predict(cgcnn, structures, { cache }));
  const items = of("predict").flatMap((list) => list.flatMap((message) => message.items as Structure[]));
  assert.equal(
    items.map(({ id }) => Number(id)).sort((a, b) => a - b),
    Array.from({ length: 50 }, (_, i) => 2 * i),
  );
  assert.equal(
    found.map(({ cached }) => cached ?? false),
    structures.map((_, i) => i % 2 === 1),
  );
  assert.is(cache.size, 100);
  const expected = (await predict(cgcnn, structures)).map(withoutTime);
  assert.equal(
    found.map(withoutTime).map((record) => ({ ...record, cached: undefined })),
    expected.map((record) => ({ ...record, cached: undefined })),
  );
  // And texts are parsed on this side, so that they are found.
  const cif = { filename: "CsCl.cif", text: readFileSync("examples/structures/CsCl.cif", "utf8") };
  const again = await withPool({ workers: 1 }, async (pool) => {
    await pool.predict(cgcnn, [cif], { cache });
    return pool.predict(cgcnn, [cif], { cache });
  });
  assert.is(again[0].cached, true);
});

test("structures' numbers are sent in one buffer; of an array that is part of a large one only the part", async () => {
  const [{ lattice, numbers, fracCoords, pbc }] = examples;
  const file = new Float64Array(1e6);
  file.set(lattice, 10);
  file.set(fracCoords, 100);
  const bytes = new Uint8Array(1e6);
  bytes.set(numbers, 5);
  const part: Structure = {
    lattice: file.subarray(10, 19),
    fracCoords: file.subarray(100, 100 + fracCoords.length),
    numbers: bytes.subarray(5, 5 + numbers.length),
    pbc,
  };
  const { options, of } = spied(1);
  const [record] = await withPool(options, (pool) => pool.predict(cgcnn, [part]));
  assert.is(record.value, (await predict(cgcnn, examples))[0].value);
  const items = of("predict")[0][0].items as Structure[];
  const [buffer, ...others] = new Set(
    items.flatMap((item) => [item.lattice, item.numbers, item.fracCoords].map((x) => x.buffer)),
  );
  assert.is(others.length, 0);
  assert.is(buffer.byteLength, 72 + 8 * fracCoords.length + 8 * Math.ceil(numbers.length / 8));
});

test.run();
