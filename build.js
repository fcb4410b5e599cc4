/**
 * Builds dist/ (what npm ships), or with --tests / --bench the test and bench bundles in build/.
 *   dist/unitcell.wasm   the AssemblyScript kernels; dist/unitcell.relaxed.wasm the same with fused multiply-add
 *   dist/index.js        the library; dist/checkpoints.js its checkpoint toolkit alone, dist/reader.js the reading of
 *                        checkpoints alone; dist/edge.js an HTTP handler; dist/fs.js files for Node, Deno and Bun;
 *                        dist/ort.js export to ONNX, and onnxruntime as a backend; dist/pool.js predictions on all cores,
 *                        dist/pool-worker.js what each of its workers runs; dist/cli.js the command; all share chunks
 *   dist/modules/        the same library a file a module, for bundlers
 *   dist/kernels.js      the kernels embedded, dist/kernels.workerd.js as modules of the runtime's own: "#kernels"
 *   dist/unitcell.js     all of index.js in one file, fflate and kernels included
 *   dist/types/          declarations
 *   dist/prediction.schema.json   the JSON Schema of records
 *   dist/THIRD-PARTY.txt          the licences of what is bundled
 *   dist/demo/                    the web page: static files, the examples among them; --demo builds it alone
 */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { deflateRawSync } from "node:zlib";
import * as esbuild from "esbuild";
import { gemm } from "./bench/reference/gemm.js";

const require = createRequire(import.meta.url);
const manifest = require("./package.json");
const tests = process.argv.includes("--tests");
const bench = process.argv.includes("--bench");
const demo = process.argv.includes("--demo");

/** Runs a package's own command with this Node, so that no shell or PATH is involved. */
function node(script, ...args) {
  execFileSync(process.execPath, [script, ...args], { stdio: "inherit" });
}

const shared = {
  bundle: true,
  format: "esm",
  splitting: true,
  // es2022 makes esbuild's base64 decoder run on Node 20, which lacks Uint8Array.fromBase64.
  target: "es2022",
  loader: { ".deflate": "binary", ".wasm": "binary" },
  logLevel: "warning",
};

const asc = require.resolve("assemblyscript/bin/asc.js");

function buildKernels() {
  mkdirSync("dist", { recursive: true });
  node(asc, "assembly/index.ts", "--target", "baseline");
  node(asc, "assembly/index.ts", "assembly/tile6.ts", "--target", "relaxed");
  mkdirSync("build/kernels", { recursive: true });
  const [baseline, relaxed] = ["dist/unitcell.wasm", "dist/unitcell.relaxed.wasm"].map((file) => readFileSync(file));
  writeFileSync("build/kernels/baseline.deflate", deflateRawSync(baseline, { level: 9 }));
  // The builds are alike: with the other as its dictionary, this one takes 2 kB.
  writeFileSync("build/kernels/relaxed.deflate", deflateRawSync(relaxed, { level: 9, dictionary: baseline }));
}

/** What the kernels are measured against, as build/reference/*.wasm. */
function buildReferences() {
  mkdirSync("build/reference", { recursive: true });
  writeFileSync("build/reference/gemm-baseline.ts", gemm(2, 16, false, true));
  writeFileSync("build/reference/gemm-relaxed.ts", gemm(6, 8, true, false));
  const compile = (source, target, name) => {
    const out = `build/reference/${name}`;
    node(asc, source, "--target", target, "-o", `${out}.wasm`, "-t", `${out}.wat`);
  };
  for (const target of ["baseline", "relaxed"]) {
    compile(`build/reference/gemm-${target}.ts`, target, `gemm-${target}`);
    compile("bench/reference/activations.ts", target, `activations-${target}`);
  }
  compile("bench/reference/limits.ts", "relaxed", "limits");
}

/** Leaves the choice between embedded bytes and modules of the runtime's own to the "imports" of package.json. */
const kernelsByCondition = {
  name: "kernels",
  setup: ({ onResolve }) =>
    onResolve({ filter: /\/kernel-modules\.js$/ }, () => ({ path: "#kernels", external: true })),
};

/** Entries of the package by their files in dist/; they share chunks. For Node, Deno and Bun: few files start fast. */
const ENTRIES = {
  index: "src/index.ts",
  checkpoints: "src/checkpoints.ts",
  reader: "src/reader.ts",
  edge: "src/edge.ts",
  fs: "src/stores/fs.ts",
  ort: "src/ort.ts",
  pool: "src/pool/pool.ts",
  "pool-worker": "src/pool/worker.ts",
  cli: "src/cli.ts",
};

async function buildDist() {
  rmSync("dist", { recursive: true, force: true });
  buildKernels();
  const minified = { ...shared, metafile: true, minify: true, outdir: "dist" };
  const { metafile } = await esbuild.build({
    ...minified,
    entryPoints: ENTRIES,
    external: ["node:*", "fflate"],
    plugins: [kernelsByCondition],
  });
  await esbuild.build({ ...minified, entryPoints: { kernels: "src/kernel-modules.ts" }, external: ["fflate"] });
  copyFileSync("src/kernel-modules.workerd.js", "dist/kernels.workerd.js");
  copyFileSync("src/kernels.wasm.d.ts", "dist/kernels.wasm.d.ts");
  await buildModules(minified);
  // All of `unitcell` in one file that imports nothing, for pages without a bundler.
  const whole = await esbuild.build({ ...minified, splitting: false, entryPoints: { unitcell: "src/index.ts" } });
  chmodSync("dist/cli.js", 0o755);
  writeFileSync("dist/THIRD-PARTY.txt", licences({ ...metafile.outputs, ...whole.metafile.outputs }));
  copyFileSync("src/prediction.schema.json", "dist/prediction.schema.json");
  node(require.resolve("typescript/package.json").replace("package.json", "bin/tsc"), "-p", "tsconfig.types.json");
  pruneTypes();
}

/**
 * dist/modules: the library a file a module, as the sources are, for bundlers: they leave out by file, and put what is
 * loaded later into files of its own, neither of which they can with the parts of a chunk.
 */
async function buildModules(minified) {
  const files = readdirSync("src", { recursive: true }).filter(
    (name) => /(?<!\.d)\.ts$/.test(name) && !/^(cli|demo)\b|^kernel-modules/.test(name),
  );
  const modules = { ...minified, splitting: false, outdir: "dist/modules" };
  const entryPoints = files.filter((name) => name !== WORKER).map((name) => `src/${name}`);
  await esbuild.build({ ...modules, entryPoints, outbase: "src", plugins: [kernelsByCondition, modulesApart] });
  // A pool looks for its worker beside itself; it is one file, since Vite makes classic scripts of workers, which load no parts.
  await esbuild.build({
    ...modules,
    entryPoints: { "pool/pool-worker": `src/${WORKER}` },
    external: ["fflate/browser"],
    plugins: [kernelsByCondition],
  });
}

const WORKER = join("pool", "worker.ts");

/** Inlines data and packages that are bundled; sources and fflate stay imports. */
const modulesApart = {
  name: "modules",
  setup: ({ onResolve }) =>
    onResolve({ filter: /^(\.|fflate\/browser$|node:)/ }, ({ path, kind, importer }) =>
      kind === "entry-point" || path.endsWith(".json") || packageOf(importer)
        ? undefined
        : { path, external: true, sideEffects: false },
    ),
};

/**
 * The page: its script, the worker in one file (it is started from a blob, from where no chunk could be found), uPlot's
 * style in the page's own, 3Dmol as a chunk that is loaded later, and the examples with a list of them.
 */
async function buildDemo() {
  rmSync("dist/demo", { recursive: true, force: true });
  const options = { ...shared, metafile: true, minify: true, outdir: "dist/demo" };
  const page = await esbuild.build({
    ...options,
    entryPoints: { start: "src/demo/start.ts", style: "src/demo/demo.css" },
    // The package's main file is a bundle for scripts without modules, ten times as long.
    alias: { "3dmol": "3dmol/build/3Dmol.es6-min.js" },
  });
  const worker = await esbuild.build({
    ...options,
    splitting: false,
    entryPoints: { worker: "src/demo/worker/worker.ts" },
  });
  const bundledBefore = bundledIn("3dmol");
  writeFileSync(
    "dist/demo/THIRD-PARTY.txt",
    licences({ ...page.metafile.outputs, ...worker.metafile.outputs }, bundledBefore),
  );
  copyFileSync("src/demo/index.html", "dist/demo/index.html");
  const models = readdirSync("examples/saved_models").filter((name) => /(_best\.pt|\.json)$/.test(name));
  const structures = readdirSync("examples/structures");
  const paths = [...models.map((name) => `saved_models/${name}`), ...structures.map((name) => `structures/${name}`)];
  for (const path of paths) cpSync(`examples/${path}`, `dist/demo/examples/${path}`);
  writeFileSync("dist/demo/examples/index.json", JSON.stringify(paths, undefined, 1));
  await buildServiceWorker();
}

/** Last, since it has the hashes of all other files. */
async function buildServiceWorker() {
  const files = readdirSync("dist/demo", { recursive: true })
    .map((name) => name.replaceAll("\\", "/"))
    .filter((name) => statSync(`dist/demo/${name}`).isFile())
    .sort();
  const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");
  const hashes = Object.fromEntries(files.map((name) => [name, sha256(readFileSync(`dist/demo/${name}`))]));
  const build = { hash: sha256(JSON.stringify(hashes)).slice(0, 16), files: hashes };
  await esbuild.build({
    ...shared,
    splitting: false,
    minify: true,
    entryPoints: ["src/demo/service-worker.ts"],
    outdir: "dist/demo",
    define: { BUILD: JSON.stringify(build) },
  });
}

/** Folders of the packages that a package has bundled into itself before it was published: those it depends on. */
function bundledIn(name, from = ".") {
  const folder = [`${from}/node_modules/${name}`, `node_modules/${name}`].find((one) => existsSync(one));
  const { dependencies = {} } = JSON.parse(readFileSync(`${folder}/package.json`, "utf8"));
  return Object.keys(dependencies).flatMap((one) => {
    const inside = [`${folder}/node_modules/${one}`, `node_modules/${one}`].find((path) => existsSync(path));
    return [inside, ...bundledIn(one, folder)];
  });
}

/** The licences of the packages whose code is in the output: they ask to be passed on with it. */
function licences(outputs, alsoBundled = []) {
  const files = Object.values(outputs).flatMap(({ inputs }) =>
    Object.keys(inputs).filter((file) => inputs[file].bytesInOutput > 0),
  );
  const folders = new Set([...files.flatMap((file) => packageOf(file) ?? []), ...alsoBundled]);
  const texts = [...folders].sort().map((folder) => {
    const { name, version } = JSON.parse(readFileSync(`${folder}/package.json`, "utf8"));
    const licence = readdirSync(folder).find((file) => /^licen[cs]e/i.test(file));
    const text = licence
      ? readFileSync(`${folder}/${licence}`, "utf8")
      : notices(files.filter((file) => packageOf(file) === folder));
    if (!text) throw new Error(`${name} is bundled and has no licence`);
    return `${name} ${version}\n\n${text.trim()}\n`;
  });
  return texts.join(`\n${"-".repeat(80)}\n\n`);
}

const packageOf = (file) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(file)?.[0];

/** Of a package without a licence file: what its files say at their beginning, and the licence that they name. */
function notices(files) {
  const said = new Set(
    files.map((file) => /^(?:\/\/.*\n)+/.exec(readFileSync(file, "utf8"))?.[0].replace(/^\/\/ ?/gm, "") ?? ""),
  );
  const text = [...said].join("\n");
  const apache = dirname(require.resolve("assemblyscript/package.json"));
  return text.includes("Apache License, Version 2.0") ? `${text}\n${readFileSync(`${apache}/LICENSE`, "utf8")}` : text;
}

/** Declarations that no entry leads to describe what no user can reach. */
function pruneTypes() {
  const reached = new Set();
  const reach = (file) => {
    if (reached.has(file)) return;
    reached.add(file);
    for (const [, specifier] of readFileSync(file, "utf8").matchAll(/(?:from |import\()"(\.[^"]+)\.js"/g))
      reach(join(dirname(file), `${specifier}.d.ts`));
  };
  for (const { types } of Object.values(manifest.exports)) if (types) reach(join(types));
  for (const name of readdirSync("dist/types", { recursive: true })) {
    const file = join("dist/types", name);
    if (file.endsWith(".d.ts") && !reached.has(file)) rmSync(file);
  }
}

/** Transpiles test/ or bench/ with the sources inlined; packages stay imports. */
async function buildScripts(folder, pattern) {
  const entryPoints = readdirSync(folder)
    .filter((name) => pattern.test(name))
    .map((name) => `${folder}/${name}`);
  rmSync(`build/${folder}`, { recursive: true, force: true });
  await esbuild.build({
    ...shared,
    entryPoints,
    outdir: `build/${folder}`,
    platform: "node",
    packages: "external",
    sourcemap: true,
  });
}

if (!demo) await buildDist();
await buildDemo();
if (tests) await buildScripts("test", /(\.(test|child)|^run)\.ts$/);
if (bench) {
  buildReferences();
  await buildScripts("bench", /\.ts$/);
}
