/**
 * Cold start: from the start of the import, and from the start of the process, to the first prediction's number, in each
 * runtime; beside it onnxruntime-web on the same network, which is given a file of ONNX and a graph that is ready.
 */
import { copyFileSync, existsSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { collate } from "../src/graphs/batch.js";
import { buildGraph } from "../src/graphs/graph.js";
import { modelOnnx } from "../src/onnx/export.js";
import { feedsOf } from "../src/onnx/inputs.js";
import { installPackage } from "../test/installed-package.js";
import { DENO_FLAGS, PROGRAMS, RUNTIMES, versionOf } from "../test/runtime-host.js";
import { bundleWorker, startWorkerd, WORKERD } from "../test/workerd-host.js";
import { gzipBytes } from "./bundle-size.js";
import { runProcess } from "./cold.js";
import type { Context } from "./compare.js";
import { chromiumPages } from "./start-pages.js";
import { type Row, type SectionResult, type Summary, summarize } from "./stats.js";
import { nameOf, readModel, readStructure } from "./structures.js";

/** Most that the two sides' numbers may differ by. */
const TOLERANCE = 2e-5;

/** One who predicts: a script of bench/start, and the files that it reads. */
export interface Side {
  readonly name: string;
  readonly files: readonly string[];
  /** Given to it beside them where nothing is found beside a script. */
  readonly wasm?: string;
}
const OURS: Side = { name: "unitcell", files: ["checkpoint.bin", "crystal.bin"] };
const ORT: Side = { name: "onnxruntime-web", files: ["network.bin", "feeds.bin"], wasm: "ort-wasm.bin" };

/** One cold start. */
export interface Sample {
  readonly value: number;
  /** ms from the start of the import, and from that of the process. */
  readonly importMs: number;
  readonly processMs: number;
}

/** A runtime that starts anew for each sample. */
interface Place {
  readonly name: string;
  /** What `importMs` is there. */
  readonly inside: string;
  sample(side: Side): Promise<Sample>;
  /** How many bytes of code a side has to send or upload, compressed. */
  readonly shipped?: { readonly what: string; bytes(side: Side): number };
  stop?(): void;
}

export async function start(context: Context): Promise<SectionResult> {
  if (!existsSync("dist/index.js")) return { rows: [], failures: ["start: dist/index.js is not built"] };
  const installed = installPackage();
  const { folder } = installed;
  const notes: string[] = [];
  const places: Place[] = [];
  try {
    const sides = await writeProject(context, folder, notes);
    places.push(...scripts(folder, notes), ...(await workerd(folder, sides, notes)));
    const pages = await chromiumPages(folder, sides);
    if ("missing" in pages) notes.push(`start: ${pages.missing}`);
    else places.push({ ...pages, inside: "import to number" });
    const results: Measured[] = [];
    const failures: string[] = [];
    for (const place of places)
      try {
        results.push(await measure(place, sides, context, notes));
      } catch (error) {
        failures.push(`start: ${place.name}: ${firstLine(error)}`);
      }
    const sizes = sides.map(({ name, files }) => {
      const kB = files.map((file) => Math.round(statSync(join(folder, file)).size / 1000));
      return `${name} reads files of ${kB.join(" and ")} kB`;
    });
    notes.unshift(
      `start: ${basename(context.inputs.checkpoint)} on ${nameOf(context.inputs.small)}; ${sizes.join(", ")}`,
    );
    return {
      rows: results.flatMap(({ rows }) => rows),
      notes,
      failures: [...failures, ...disagreements(results.flatMap(({ values }) => values))],
    };
  } finally {
    for (const place of places) place.stop?.();
    installed.remove();
  }
}

/** What both sides read and run, beside the installed packages; the sides that there are. */
async function writeProject(context: Context, folder: string, notes: string[]): Promise<Side[]> {
  const { checkpoint, small } = context.inputs;
  for (const name of readdirSync("bench/start")) copyFileSync(join("bench/start", name), join(folder, name));
  copyFileSync(checkpoint, join(folder, OURS.files[0]));
  copyFileSync(small, join(folder, OURS.files[1]));
  const package_ = resolve(RUNTIMES, ORT.name);
  if (!existsSync(package_)) {
    notes.push(`start: no ${ORT.name} in build/runtimes`);
    return [OURS];
  }
  symlinkSync(package_, join(folder, "node_modules", ORT.name));
  copyFileSync(join(package_, "dist/ort-wasm-simd-threaded.wasm"), join(folder, ORT.wasm!));
  const model = await readModel(checkpoint);
  const { bytes, inputs } = modelOnnx(model);
  const graph = buildGraph(readStructure(small), model.config.graph);
  const feeds = [...feedsOf(inputs, collate([graph]))].map(([name, { data, ...feed }]) => ({
    name,
    ...feed,
    data: [...data],
  }));
  writeFileSync(join(folder, ORT.files[0]), bytes);
  writeFileSync(join(folder, ORT.files[1]), JSON.stringify({ feeds, ...(model.normalizer ?? { mean: 0, std: 1 }) }));
  return [OURS, ORT];
}

/** @param shown as "deno 2.9.6 (stable)" */
const numberOf = (shown: string) => /\d[\d.-]*/.exec(shown)![0];

function scripts(folder: string, notes: string[]): Place[] {
  const commands: Readonly<Record<string, readonly string[]>> = {
    Node: [PROGRAMS.node],
    "newest Node": [PROGRAMS.newestNode],
    Deno: [PROGRAMS.deno, ...DENO_FLAGS, "--allow-read", "--allow-env"],
    Bun: [PROGRAMS.bun],
  };
  return Object.entries(commands).flatMap(([name, command]) => {
    if (!existsSync(command[0])) {
      notes.push(`start: no ${name} in build/runtimes`);
      return [];
    }
    return {
      name: `${name.replace("newest ", "")} ${numberOf(versionOf(command[0], "--version"))}`,
      inside: "import to number",
      async sample({ name: side, files }) {
        const { firstNumberMs, output } = await runProcess([...command, join(folder, "script.mjs"), side, ...files]);
        const { ms, value } = JSON.parse(output);
        return { value, importMs: ms, processMs: firstNumberMs };
      },
    };
  });
}

/** Workers whose files are modules of theirs, as Wasm is. Its clock stands still: the request is timed from outside. */
async function workerd(folder: string, sides: readonly Side[], notes: string[]): Promise<Place[]> {
  if (!existsSync(WORKERD)) {
    notes.push("start: no workerd in build/runtimes");
    return [];
  }
  const outOf = (side: Side) => join(folder, `worker-${side.name}`);
  for (const side of sides) {
    const entry = join(folder, `${side.name}-worker.mjs`);
    const files = [...side.files, ...(side.wasm ? [side.wasm] : [])];
    const imports = files.map((file, i) => `import file${i} from "./${file}";`);
    const given = files.map((_, i) => `new Uint8Array(file${i})`);
    writeFileSync(
      entry,
      `${imports.join("\n")}
      export default { async fetch() {
        try {
          const { first } = await import("./${side.name}.mjs");
          return new Response(await first(${given.join(", ")}));
        } catch (error) {
          return new Response(String(error), { status: 500 });
        }
      } };`,
    );
    await bundleWorker(entry, outOf(side));
  }
  const isCode = (file: string) => /\.(mjs|wasm)$/.test(file);
  return [
    {
      name: `workerd ${numberOf(versionOf(WORKERD, "--version").replace("workerd ", ""))}`,
      inside: "request to number",
      async sample(side) {
        const processStart = performance.now();
        const { running, address } = await startWorkerd(outOf(side));
        try {
          const requestStart = performance.now();
          const response = await fetch(address);
          const text = await response.text();
          const end = performance.now();
          if (!response.ok) throw new Error(text);
          return { value: Number(text), importMs: end - requestStart, processMs: end - processStart };
        } finally {
          await running.stop();
        }
      },
      shipped: {
        what: "worker's JS and Wasm, gzip",
        bytes: (side) =>
          readdirSync(outOf(side))
            .filter(isCode)
            .reduce((sum, file) => sum + gzipBytes(readFileSync(join(outOf(side), file))), 0),
      },
    },
  ];
}

interface Measured {
  readonly rows: Row[];
  /** Numbers that were found, by who found them. */
  readonly values: readonly (readonly [who: string, value: number])[];
}

/** The sides in turns. The first start of each fills the disk cache and does not count; who fails then takes no part. */
async function measure(place: Place, sides: readonly Side[], context: Context, notes: string[]): Promise<Measured> {
  const samples = new Map<Side, Sample[]>();
  const values: [string, number][] = [];
  for (let round = 0; round <= context.rounds; round++)
    for (const side of round === 0 ? sides : samples.keys()) {
      try {
        const sample = await place.sample(side);
        values.push([`${side.name} in ${place.name}`, sample.value]);
        samples.set(side, round === 0 ? [] : [...samples.get(side)!, sample]);
      } catch (error) {
        if (side === OURS || round > 0) throw error;
        notes.push(`${side.name} does not run in ${place.name}: ${firstLine(error)}`);
      }
    }
  const row = (step: string, unit: string, of: (side: Side) => Summary): Row => {
    const ours = of(OURS);
    const theirs = samples.has(ORT) ? of(ORT) : undefined;
    return {
      section: "start",
      step: place.name,
      size: step,
      unit,
      ours,
      ...(theirs && { peers: { [ORT.name]: theirs }, ratio: theirs.median / ours.median }),
    };
  };
  const times = (key: "importMs" | "processMs") => (side: Side) =>
    summarize(samples.get(side)!.map((sample) => sample[key]));
  const rows = [row(place.inside, "ms", times("importMs")), row("process start to number", "ms", times("processMs"))];
  const { shipped } = place;
  if (shipped) rows.push(row(shipped.what, "kB", (side) => summarize([shipped.bytes(side) / 1000])));
  return { rows, values };
}

const firstLine = (error: unknown) => (error as Error).message.trim().split("\n")[0].slice(0, 200);

function disagreements(values: Measured["values"]): string[] {
  const expected = values[0]?.[1];
  const unlike = new Map(values.filter(([, value]) => !(Math.abs(value - expected) <= TOLERANCE)));
  return Array.from(unlike, ([who, value]) => `start: ${who} gives ${value}, expected ${expected}`);
}
