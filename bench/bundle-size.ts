/** What a user's bundler makes of imports from the built package: esbuild, as for a page. */
import { brotliCompressSync, gzipSync } from "node:zlib";
import * as esbuild from "esbuild";

export interface Bundled {
  /** Bytes of the files that are loaded before anything runs: minified, and each compressed. */
  readonly minified: number;
  readonly gzip: number;
  readonly brotli: number;
  /** Modules in those files, and in those that are loaded when they are needed. */
  readonly inputs: readonly string[];
  readonly later: readonly string[];
  /** Imports that are left. */
  readonly imports: readonly string[];
}

export const gzipBytes = (bytes: Uint8Array): number => gzipSync(bytes, { level: 9 }).length;

/** @param code a module that finds packages from a folder */
export async function bundle(code: string, resolveDir = process.cwd()) {
  const { outputFiles, metafile } = await esbuild.build({
    stdin: { contents: code, resolveDir, sourcefile: "page.js" },
    bundle: true,
    format: "esm",
    minify: true,
    splitting: true,
    write: false,
    metafile: true,
    outdir: "out",
    logLevel: "error",
  });
  const isEntry = ({ entryPoint = "" }) => /^<stdin>$|(^|\/)page\.js$/.test(entryPoint);
  const [entry] = Object.entries(metafile.outputs).find(([, output]) => isEntry(output))!;
  return { outputFiles, metafile, entry };
}

/** @param code a module; the names it exports are what is used */
export async function bundled(code: string): Promise<Bundled> {
  const { outputFiles, metafile, entry } = await bundle(code);
  const files = Object.entries(metafile.outputs);
  const initial = new Set<string>();
  const add = (name: string) => {
    if (initial.has(name)) return;
    initial.add(name);
    for (const { path, kind, external } of metafile.outputs[name].imports)
      if (kind === "import-statement" && !external) add(path);
  };
  add(entry);
  const bytesOf = (name: string) => outputFiles.find(({ path }) => path.endsWith(`/${name}`))!.contents;
  const sum = (size: (bytes: Uint8Array) => number) =>
    [...initial].reduce((total, name) => total + size(bytesOf(name)), 0);
  const modulesOf = (names: readonly string[]) =>
    names.flatMap((name) =>
      Object.entries(metafile.outputs[name].inputs)
        .filter(([, { bytesInOutput }]) => bytesInOutput > 0)
        .map(([input]) => input),
    );
  return {
    minified: sum(({ length }) => length),
    gzip: sum(gzipBytes),
    brotli: sum((bytes) => brotliCompressSync(bytes).length),
    inputs: modulesOf([...initial]),
    later: modulesOf(files.map(([name]) => name).filter((name) => !initial.has(name))),
    imports: files.flatMap(([, { imports }]) => imports.filter(({ external }) => external).map(({ path }) => path)),
  };
}
