import { setFlagsFromString } from "node:v8";

/** Node 20 knows relaxed SIMD and hides it behind a flag, which later ones no longer know. */
export const hidesRelaxed = Number.parseInt(process.versions.node, 10) < 21;

/** Sets that flag. To be called before the first backend is made: unitcell asks once what the engine has. */
export function showRelaxed(): void {
  if (hidesRelaxed) setFlagsFromString("--experimental-wasm-relaxed-simd");
}
