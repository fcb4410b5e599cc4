/** The onnxruntime backend's own logic, on a stand-in for the runtime: when it loads, what it does about failures. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { Ajv2020 } from "ajv/dist/2020.js";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type OrtOptions, ortBackend } from "../src/backends/ort.js";
import type { OrtModule } from "../src/backends/ort-module.js";
import { wasmBackend } from "../src/backends/wasm.js";
import { embed } from "../src/embed.js";
import { collate } from "../src/graphs/batch.js";
import { buildGraph } from "../src/graphs/graph.js";
import { loadModel } from "../src/load-model.js";
import { type PredictOptions, predict, predictStream } from "../src/predict.js";
import type { FailedPrediction, Prediction } from "../src/prediction.js";
import { PredictionCache } from "../src/prediction-cache.js";
import { exampleStructures } from "./examples.js";
import { type FakeBehavior, FakeOrt } from "./ort-fake.js";
import { throwsCode } from "./throws.js";

const model = await loadModel(readFileSync("examples/saved_models/cgcnn_ionic_best.pt"));
const structures = exampleStructures();
const batch = collate([buildGraph(structures[0], model.config.graph)]);
const validate = new Ajv2020({ strict: true }).compile(JSON.parse(readFileSync("src/prediction.schema.json", "utf8")));

async function records(options: PredictOptions): Promise<(Prediction | FailedPrediction)[]> {
  const all: (Prediction | FailedPrediction)[] = [];
  for await (const record of predictStream(model, structures, options)) {
    assert.ok(validate(JSON.parse(JSON.stringify(record))), JSON.stringify(validate.errors));
    all.push(record);
  }
  assert.is(all.length, structures.length);
  return all;
}

/** The structures in several batches. */
async function predictions(options: PredictOptions): Promise<Prediction[]> {
  const all = await records({ maxAtoms: 8, ...options });
  return all.map((record) => {
    assert.not("error" in record, JSON.stringify(record));
    return record as Prediction;
  });
}

const failing =
  (...counts: number[]) =>
  (count: number) => {
    if (counts.includes(count)) throw new Error(`broken at ${count}`);
  };
const always = () => {
  throw new Error("always broken");
};

test("nothing is loaded before the first batch, and then once", async () => {
  let loads = 0;
  const ort = new FakeOrt();
  const backend = ortBackend(
    async () => {
      loads++;
      return ort;
    },
    { provider: "wasm" },
  );
  assert.is(backend.name, "ort-wasm");
  const sessions = await Promise.all([backend.createSession(model.program), backend.createSession(model.program)]);
  assert.ok(sessions[0].bytes(batch.sizes) > 0 && sessions[0].goodBytes > 0);
  assert.equal([loads, ort.creates], [0, 0]);
  await Promise.all(sessions.map((session) => session.run(batch)));
  for (const session of sessions) assert.equal(await session.run(batch), Float32Array.of(1));
  assert.equal([loads, ort.creates, ort.runs], [1, 2, 4]);
  for (const [options, name] of [
    [{ provider: "wasm" }, "ort-wasm"],
    [{ provider: "cpu" }, "ort-cpu"],
    [{ provider: "webgpu" }, "ort-webgpu"],
    [{ provider: "webgpu", weights: "f16" }, "ort-webgpu-f16"],
    [{}, "ort-wasm"], // Node has no WebGPU
  ] as const)
    assert.is(ortBackend(always, options).name, name);
});

test("the provider and the user's options go to the runtime, onnxruntime-node's GPU by its name", async () => {
  for (const provider of ["wasm", "cpu", "webgpu"] as const) {
    const ort = new FakeOrt();
    await predict(model, structures.slice(0, 1), {
      backend: ortBackend(ort, { provider, sessionOptions: { intraOpNumThreads: 1, executionProviders: ["none"] } }),
    });
    assert.equal(ort.options, [{ intraOpNumThreads: 1, executionProviders: [provider] }]);
  }
});

test("calls of a module come one after the other: two backends, many predictions at once", async () => {
  const ort = new FakeOrt({ run: () => new Promise((resolve) => setTimeout(resolve, 1)) });
  const backends = [ortBackend(ort, { provider: "wasm" }), ortBackend(async () => ort, { provider: "cpu" })];
  const all = await Promise.all([0, 1, 2, 3, 4, 5].map((i) => predictions({ backend: backends[i % 2] })));
  assert.is(new Set(all.map((ones) => ones.map(({ value }) => value).join(" "))).size, 1);
  assert.is(ort.mostAtOnce, 1);
  assert.is(ort.creates, 2);
  await Promise.all(backends.map((backend) => backend.dispose()));
  assert.is(ort.mostAtOnce, 1);
  assert.is(ort.open.size, 0);
});

test("a call that fails does not keep the next from its turn", async () => {
  const ort = new FakeOrt({ create: failing(1), run: failing(1) });
  const session = await ortBackend(ort, { provider: "cpu" }).createSession(model.program);
  await throwsCode(() => session.run(batch), "BACKEND", /^onnxruntime failed: broken at 1$/);
  await throwsCode(() => session.run(batch), "BACKEND", {
    message: /broken at 1/,
    check: ({ cause }) => assert.instance(cause, Error),
  });
  assert.equal(await session.run(batch), Float32Array.of(1));
  assert.equal(ort.calls, ["create 2", "run 2"]);
});

test("a runtime that cannot be loaded: BACKEND, and the next batch tries again", async () => {
  let loads = 0;
  const ort = new FakeOrt();
  const load = async (): Promise<OrtModule> => {
    if (++loads === 1) throw new TypeError("Failed to fetch");
    return ort;
  };
  const session = await ortBackend(load, { provider: "wasm" }).createSession(model.program);
  await throwsCode(() => session.run(batch), "BACKEND", {
    message: /^onnxruntime cannot be loaded: Failed to fetch$/,
    check: ({ cause }) => assert.instance(cause, TypeError),
  });
  assert.equal(await session.run(batch), Float32Array.of(1));
  assert.is(loads, 2);
});

test("a runtime for a GPU that cannot be loaded: the fallback computes, and says so", async () => {
  const expected = await predictions({});
  for (const load of [always, () => Promise.reject(new Error("always broken"))]) {
    const all = await predictions({ backend: ortBackend(load as () => Promise<OrtModule>, { provider: "webgpu" }) });
    checkFellBack(all, expected, /cannot be loaded: always broken; and again: .*; computed by wasm/);
  }
});

/** Numbers and name of the Wasm kernels, and the warning. */
function checkFellBack(found: readonly Prediction[], expected: readonly Prediction[], message: RegExp): void {
  for (const [i, { value, backend, warnings }] of found.entries()) {
    assert.is(value, expected[i].value);
    assert.is(backend, expected[i].backend);
    const said = warnings.filter(({ code }) => code === "backend-failed");
    assert.is(said.length, 1);
    assert.match(said[0].message, message);
  }
}

for (const what of ["create", "run"] as const) {
  test(`a GPU that fails once at ${what}: the batch runs again on a fresh session, and says so`, async () => {
    const ort = new FakeOrt({ [what]: failing(1) });
    const all = await predictions({ backend: ortBackend(ort, { provider: "webgpu" }) });
    const noted = all.filter(({ warnings }) => warnings.some(({ code }) => code === "backend-failed"));
    assert.ok(noted.length > 0 && noted.length < all.length, "only those of the batch");
    for (const { warnings } of noted)
      assert.match(
        warnings.at(-1)!.message,
        /^onnxruntime failed: broken at 1; the batch ran again on a fresh session$/,
      );
    assert.ok(all.every(({ backend }) => backend === "ort-webgpu"));
    assert.is(ort.creates, 2);
    assert.equal([...ort.open], [2], "the failed session is released");
  });

  test(`a GPU that fails twice at ${what}: the fallback computes this and all later batches`, async () => {
    const expected = await predictions({});
    const ort = new FakeOrt({ [what]: always });
    const backend = ortBackend(ort, { provider: "webgpu" });
    const message =
      /^onnxruntime failed: always broken; and again: onnxruntime failed: always broken; computed by wasm/;
    checkFellBack(await predictions({ backend }), expected, message);
    checkFellBack(await predictions({ backend }), expected, message);
    assert.is(what === "create" ? ort.creates : ort.runs, 2);
    assert.is(ort.open.size, 0, "no memory is held for what is not used");
    await backend.dispose();
    await predictions({ backend });
    assert.is(what === "create" ? ort.creates : ort.runs, 4, "the GPU is tried again");
  });

  for (const provider of ["wasm", "cpu"] as const)
    test(`${provider} that fails at ${what}: its crystals have BACKEND errors, others go on`, async () => {
      const ort = new FakeOrt({ [what]: failing(2) });
      const backend = ortBackend(ort, { provider });
      if (what === "create") await backend.createSession(model.program).then((session) => session.run(batch));
      const all = await records({ backend, maxAtoms: 8 });
      const failed = all.filter((record) => "error" in record);
      assert.ok(failed.length > 0 && failed.length < all.length);
      for (const { error } of failed)
        assert.equal(error, { code: "BACKEND", message: "onnxruntime failed: broken at 2" });
    });
}

test("the fallback can be another backend", async () => {
  const other = new FakeOrt({ value: () => 7 });
  const fallback = ortBackend(other, { provider: "cpu" });
  const all = await predictions({ backend: ortBackend(always, { provider: "webgpu", fallback }) });
  for (const { backend, value } of all) {
    assert.is(backend, "ort-cpu");
    assert.is(value, 7 * model.normalizer!.std + model.normalizer!.mean);
  }
});

test("a fallback's own fallback is named", async () => {
  const expected = await predictions({});
  const fallback = ortBackend(always, { provider: "webgpu" });
  const all = await predictions({ backend: ortBackend(always, { provider: "webgpu", fallback }) });
  checkFellBack(all, expected, /always broken; computed by wasm(-relaxed)?; computed by wasm(-relaxed)?$/);
});

test("a failure in a tie's range alone: the value keeps its backend, and the failure is told", async () => {
  const [tied] = structures.filter(({ id }) => id === "SrTiO3-perovskite");
  const ort = new FakeOrt({
    run: (count) => {
      if (count > 1) throw new Error("broken");
    },
  });
  const backend = ortBackend(ort, { provider: "webgpu" });
  const [{ value, tie, warnings, ...record }] = await predict(model, [tied], { backend, tieRange: true });
  assert.ok(tie);
  assert.is(value, model.normalizer!.std + model.normalizer!.mean, "the stand-in's");
  assert.is(record.backend, "ort-webgpu");
  assert.match(warnings.at(-1)!.message, /^of the tie's range: onnxruntime failed: broken; .*computed by wasm/);
});

test("what cannot be released is given up, and no prediction with it", async () => {
  const release = () => {
    throw new Error("release failed");
  };
  const ort = new FakeOrt({ run: failing(1), release });
  const backend = ortBackend(ort, { provider: "webgpu" });
  const all = await predictions({ backend });
  assert.ok(all.every((record) => record.backend === "ort-webgpu"));
  await backend.dispose();
  assert.is(ort.open.size, 0);
});

for (const provider of ["wasm", "webgpu"] as const)
  test(`runs on ${provider} that begin while the backend is disposed of are like any other`, async () => {
    for (let ticks = 0; ticks < 30; ticks++) {
      const ort = new FakeOrt();
      const backend = ortBackend(ort, { provider });
      const session = await backend.createSession(model.program);
      await session.run(batch);
      const first = session.run(batch);
      const disposed = backend.dispose();
      const later: Promise<Float32Array>[] = [];
      let notes = 0;
      for (let i = 0; i < ticks; i++) {
        await Promise.resolve();
        if (i % 5 === 0) later.push(session.run(batch, () => notes++));
      }
      later.push(session.run(batch, () => notes++));
      await disposed;
      for (const run of [first, ...later]) assert.equal(await run, Float32Array.of(1));
      assert.is(notes, 0);
      await Promise.all([backend.dispose(), backend.dispose()]);
      assert.is(ort.open.size, 0);
    }
  });

test("dispose does not wait for what begins after it", async () => {
  const ort = new FakeOrt();
  const backend = ortBackend(ort, { provider: "wasm" });
  const session = await backend.createSession(model.program);
  let stopped = false;
  const stream = async () => {
    while (!stopped) await session.run(batch);
  };
  const streams = [stream(), stream()];
  await session.run(batch);
  await backend.dispose();
  stopped = true;
  await Promise.all(streams);
});

test("a GPU given up by several streams at once: nothing stays open", async () => {
  for (let wait = 0; wait < 6; wait++) {
    const ort = new FakeOrt({
      run: async (count) => {
        await new Promise((resolve) => setTimeout(resolve, count % (wait + 1)));
        throw new Error("broken");
      },
    });
    const backend = ortBackend(ort, { provider: "webgpu" });
    const all = await Promise.all([4, 8, 16].map((maxAtoms) => predictions({ backend, maxAtoms })));
    for (const record of all.flat()) assert.match(record.backend, /^wasm/);
    assert.is(ort.open.size, 0);
  }
});

test("no values asked for are none", async () => {
  const ort = new FakeOrt();
  const session = await ortBackend(ort, { provider: "cpu" }).createSession(model.program);
  assert.is((await session.values(batch, [])).size, 0);
  assert.is(ort.creates, 0);
});

test("a module and what wraps it take turns", async () => {
  const ort = new FakeOrt({ run: () => new Promise((resolve) => setTimeout(resolve, 1)) });
  const wrapped = { InferenceSession: ort.InferenceSession, Tensor: ort.Tensor };
  await Promise.all([ort, wrapped].map((module) => predictions({ backend: ortBackend(module, { provider: "cpu" }) })));
  assert.is(ort.mostAtOnce, 1);
});

test("a failure's note reaches tie ranges and embeddings", async () => {
  const fake = (behavior: FakeBehavior) => ortBackend(new FakeOrt(behavior), { provider: "webgpu" });
  const all = await predictions({ backend: fake({ run: always }), tieRange: true });
  for (const { warnings } of all) assert.ok(warnings.some(({ code }) => code === "backend-failed"));
  assert.ok(all.some(({ tie }) => tie));
  const [vector] = await embed(model, structures.slice(0, 1), { backend: fake({ run: failing(1) }) });
  assert.is(vector.warnings.at(-1)!.code, "backend-failed");
  const [other] = await embed(model, structures.slice(0, 1), { backend: fake({ run: always }) });
  assert.is(other.backend, wasmBackend().name);
});

test("a cache keeps no record of a batch that ran elsewhere or twice", async () => {
  const cache = await PredictionCache.load();
  const ort = new FakeOrt({ run: failing(1) });
  const backend = ortBackend(ort, { provider: "webgpu" });
  const first = await predictions({ backend, cache });
  const lasting = first.filter(({ warnings }) => warnings.every(({ code }) => code !== "backend-failed"));
  assert.ok(lasting.length > 0 && lasting.length < first.length);
  assert.is(cache.added, lasting.length);
  const second = await predictions({ backend, cache });
  assert.equal(
    second.filter(({ cached }) => !cached).map(({ id }) => id),
    first.filter((record) => !lasting.includes(record)).map(({ id }) => id),
  );
  assert.is(cache.added, structures.length);
  const empty = await PredictionCache.load();
  const elsewhere = await predictions({ backend: ortBackend(always, { provider: "webgpu" }), cache: empty });
  for (const record of elsewhere) assert.match(record.backend, /^wasm/);
  assert.is(empty.added, 0);
});

for (const [number, provider] of [
  [Number.NaN, "wasm"],
  [Number.POSITIVE_INFINITY, "cpu"],
  [Number.NaN, "webgpu"],
] as const)
  test(`${number} from provider ${provider} is CORRUPT, as from any backend`, async () => {
    const ort = new FakeOrt({ value: () => number });
    for (const record of await records({ backend: ortBackend(ort, { provider }) }))
      assert.is((record as FailedPrediction).error.code, "CORRUPT");
  });

test("an unknown provider or precision is ARGUMENT", async () => {
  for (const [options, message] of [
    [{ provider: "cuda" }, /provider is webgpu, wasm or cpu, found "cuda"/],
    [{ weights: "bf16" }, /weights are f32 or f16, found "bf16"/],
  ] as const)
    await throwsCode(() => ortBackend(new FakeOrt(), options as object as OrtOptions), "ARGUMENT", message);
});

test("f16 weights are for GPUs: ARGUMENT elsewhere", async () => {
  for (const options of [{ provider: "wasm" }, { provider: "cpu" }, {}] as const)
    await throwsCode(() => ortBackend(new FakeOrt(), { ...options, weights: "f16" }), "ARGUMENT", /found (wasm|cpu)$/);
});

test("a batch beyond onnxruntime-web's memory is LIMIT before anything is loaded; native has no such limit", async () => {
  const huge = { B: 1, N: 100_000, E: 100_000_000, T: 0 };
  const wasm = await ortBackend(always, { provider: "wasm" }).createSession(model.program);
  await throwsCode(() => wasm.bytes(huge), "LIMIT", {
    message: /100000 atoms and 100000000 bonds needs some \d+\.\d GiB, onnxruntime-web has room for 3 GiB/,
    check: ({ detail }) => assert.ok((detail.needed as number) > (detail.limit as number)),
  });
  for (const provider of ["cpu", "webgpu"] as const) {
    const session = await ortBackend(always, { provider }).createSession(model.program);
    assert.ok(session.bytes(huge) > 2 ** 32);
  }
});

test("values asked for together are one program to the runtime, kept for the next time", async () => {
  const ort = new FakeOrt();
  const session = await ortBackend(ort, { provider: "cpu" }).createSession(model.program);
  const { N } = batch.sizes;
  for (let again = 0; again < 2; again++) {
    const values = await session.values(batch, ["atoms", "crystal"]);
    assert.equal([...values.keys()], ["atoms", "crystal"]);
    const { columns } = model.program.labels.get("atoms")!;
    assert.is(values.get("atoms")!.length, N * columns);
    assert.is(values.get("atoms")!.at(-1), N);
  }
  await session.run(batch);
  assert.equal([ort.creates, ort.runs], [2, 3]);
  await throwsCode(() => session.values(batch, ["nothing"]), "NOT_FOUND", /no value "nothing"; there are .*atoms/);
  await session.dispose();
  assert.is(ort.open.size, 0);
});

test("a batch that the program cannot read is MISMATCH, and nothing runs", async () => {
  const ort = new FakeOrt();
  for (const provider of ["cpu", "webgpu"] as const) {
    const session = await ortBackend(ort, { provider }).createSession(model.program);
    const inputs = new Map(batch.inputs).set("source", new Int32Array(batch.sizes.E).fill(batch.sizes.N));
    await throwsCode(() => session.run({ ...batch, inputs }), "MISMATCH", /"source" holds/);
  }
  assert.is(ort.creates, 0);
});

test("results are copies, and the runtime's own are given back", async () => {
  const ort = new FakeOrt();
  const session = await ortBackend(ort, { provider: "cpu" }).createSession(model.program);
  const first = await session.run(batch);
  first.fill(99);
  assert.equal(await session.run(batch), Float32Array.of(1));
  assert.ok(ort.results.length === 2 && ort.results.every(({ disposed }) => disposed));
  assert.not.equal(ort.results[0].data, first);
});

test("a session that is disposed of: ARGUMENT; its backend goes on", async () => {
  const ort = new FakeOrt();
  const backend = ortBackend(ort, { provider: "cpu" });
  const [one, two] = [await backend.createSession(model.program), await backend.createSession(model.program)];
  await one.run(batch);
  await two.run(batch);
  await one.dispose();
  await one.dispose();
  assert.equal([...ort.open], [2]);
  await throwsCode(() => one.run(batch), "ARGUMENT", /disposed/);
  await throwsCode(() => one.values(batch, ["atoms"]), "ARGUMENT", /disposed/);
  assert.equal(await two.run(batch), Float32Array.of(1));
});

test("a backend that is disposed of holds nothing, and what runs later loads anew", async () => {
  const ort = new FakeOrt();
  let loads = 0;
  const backend = ortBackend(
    async () => {
      loads++;
      return ort;
    },
    { provider: "wasm" },
  );
  await backend.dispose();
  assert.is(loads, 0);
  await predictions({ backend });
  await backend.dispose();
  await backend.dispose();
  assert.is(ort.open.size, 0);
  const again = await predictions({ backend });
  assert.ok(again.every(({ warnings }) => warnings.every(({ code }) => code !== "backend-failed")));
  assert.equal([loads, ort.creates], [2, 2]);
  await backend.dispose();
});

for (const provider of ["wasm", "webgpu"] as const)
  for (const which of ["session", "backend"] as const)
    for (const began of ["just asked for", "in the runtime"] as const)
      test(`a ${which} on ${provider} disposed of while a run is ${began}: the run ends, nothing stays`, async () => {
        let entered = () => {};
        const inside = new Promise<void>((resolve) => {
          entered = resolve;
        });
        const ort = new FakeOrt({
          run: async () => {
            entered();
            await new Promise((resolve) => setTimeout(resolve, 5));
          },
        });
        const backend = ortBackend(ort, { provider });
        const session = await backend.createSession(model.program);
        let notes = 0;
        const run = session
          .run(batch, () => notes++)
          .then(
            (output) => output,
            (error) => error,
          );
        if (began === "in the runtime") await inside;
        await (which === "session" ? session : backend).dispose();
        const result = await run;
        assert.equal(result, Float32Array.of(1), String(result));
        assert.is(notes, 0);
        assert.is(ort.open.size, 0);
      });

test("with a GPU that is a stand-in, too: ort-gpu.child.ts", () => {
  try {
    execFileSync(process.execPath, ["build/test/ort-gpu.child.js"], { encoding: "utf8", stdio: "pipe" });
  } catch (error) {
    throw new Error((error as { stdout?: string }).stdout || String(error));
  }
});

test("onnxruntime's own types fit", () => {
  const folder = resolve("build/runtimes/node_modules");
  if (!existsSync(join(folder, "onnxruntime-web")) || !existsSync(join(folder, "onnxruntime-node"))) {
    console.log(`skipped: no onnxruntime in ${folder}`);
    return;
  }
  const work = mkdtempSync(join(folder, "..", "types-"));
  try {
    const source = `
      import * as node from "onnxruntime-node";
      import * as web from "onnxruntime-web";
      import * as webgpu from "onnxruntime-web/webgpu";
      import { type OrtModule, ortBackend } from ${JSON.stringify(resolve("dist/types/ort.js"))};
      export const modules: OrtModule[] = [node, web, webgpu];
      export const backends = [
        ortBackend(node, { provider: "cpu" }),
        ortBackend(() => import("onnxruntime-web/webgpu")),
        ortBackend(() => import("onnxruntime-web"), { provider: "wasm" }),
      ];
      // @ts-expect-error: no module of that kind
      export const other: OrtModule = { InferenceSession: {} };
    `;
    writeFileSync(join(work, "types.ts"), source);
    const manifest = createRequire(import.meta.url).resolve("typescript/package.json");
    const tsc = join(dirname(manifest), JSON.parse(readFileSync(manifest, "utf8")).bin.tsc);
    const options =
      "--ignoreConfig --noEmit --strict --target es2022 --module esnext --moduleResolution bundler --skipLibCheck";
    const args = [tsc, ...options.split(" "), "--lib", "es2023,dom", "--types", "", join(work, "types.ts")];
    execFileSync(process.execPath, args, { encoding: "utf8", stdio: "pipe" });
  } catch (error) {
    throw new Error((error as { stdout?: string }).stdout || String(error));
  } finally {
    rmSync(work, { recursive: true });
  }
});

test.run();
