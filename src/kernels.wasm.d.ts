/** `unitcell/unitcell.wasm`, where the bundler or the runtime gives Wasm as a module: Cloudflare, Vercel's edge. */
declare const kernels: WebAssembly.Module;
export default kernels;
