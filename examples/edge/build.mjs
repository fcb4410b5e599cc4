/** Bundles worker.js into build/ and puts the Wasm and the checkpoint beside it, as config.capnp lists them. */
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

await build({
  absWorkingDir: fileURLToPath(new URL(".", import.meta.url)),
  entryPoints: ["worker.js"],
  outdir: "build",
  bundle: true,
  format: "esm",
  target: "es2022",
  minify: true,
  // Leads to modules of Wasm in place of embedded bytes, which Workers do not compile.
  conditions: ["workerd"],
  loader: { ".wasm": "copy", ".pt": "copy" },
  assetNames: "[name]",
  logLevel: "info",
});
