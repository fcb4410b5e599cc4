/**
 * The two builds of the kernels, embedded: the baseline deflated, the relaxed one deflated with the baseline as its
 * dictionary, since they differ in few places (build.js). The package's "#kernels" is this file, or, in runtimes that compile
 * no Wasm from bytes, the modules themselves (kernel-modules.workerd.js). fflate's build for Node differs in having workers,
 * whose module would be loaded at every start.
 */
import { inflateSync } from "fflate/browser";
import baseline from "../build/kernels/baseline.deflate";
import relaxed from "../build/kernels/relaxed.deflate";

/** The module of a build, compiled. */
export function embeddedModule(variant: "baseline" | "relaxed"): WebAssembly.Module {
  const plain = inflateSync(baseline);
  return new WebAssembly.Module(variant === "baseline" ? plain : inflateSync(relaxed, { dictionary: plain }));
}
