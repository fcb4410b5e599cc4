/**
 * Loops that never change, to measure a machine by: a time divided by the time of one of these says the same on a faster
 * machine, as far as both are slowed by the same thing. They share no code with unitcell.
 */

/**
 * (module
 *   (memory (export "memory") 1024)
 *   (func (export "multiplyAdd") (param $n i32) (result f32)
 *     ;; n times, for each of eight v128 in registers: a = a * 0.999 + 0.001
 *     ;; (f32x4.mul, f32x4.add), then the first lane of their sum)
 *   (func (export "copy") (param $bytes i32)
 *     (memory.copy (i32.const 0) (i32.const 33554432) (local.get $bytes))))
 */
const MODULE =
  "AGFzbQEAAAABCgJgAX8BfWABfwADAwIAAQUEAQCACAcfAwZtZW1vcnkCAAttdWx0aXBseUFkZAAABGNvcHkAAQrNAQK6AQEKe0N3vn8//RMhCUNvEoM6" +
  "/RMhCgNAIAEgCf3mASAK/eQBIQEgAiAJ/eYBIAr95AEhAiADIAn95gEgCv3kASEDIAQgCf3mASAK/eQBIQQgBSAJ/eYBIAr95AEhBSAGIAn95gEgCv3k" +
  "ASEGIAcgCf3mASAK/eQBIQcgCCAJ/eYBIAr95AEhCCAAQQFrIgANAAsgASAC/eQBIAMgBP3kAf3kASAFIAb95AEgByAI/eQB/eQB/eQB/R8ACw8AQQBB" +
  "gICAECAA/AoAAAs=";

interface Exports {
  multiplyAdd(count: number): number;
  copy(bytes: number): void;
}

let instance: WebAssembly.Instance | undefined;

/** Made when first asked for: the bench sets an engine's flag before any Wasm is compiled. */
function loops(): Exports {
  instance ??= new WebAssembly.Instance(new WebAssembly.Module(Buffer.from(MODULE, "base64")));
  return instance.exports as unknown as Exports;
}

/** What slows a case: arithmetic on vectors, memory beyond the caches, or compiled JavaScript and its objects. */
export type Reference = "compute" | "memory" | "script";

/** Each a few ms. */
export const REFERENCES: Readonly<Record<Reference, () => void>> = {
  compute: () => {
    loops().multiplyAdd(1_500_000);
  },
  memory: () => loops().copy(24 << 20),
  script,
};

const NUMBERS = Array.from({ length: 4000 }, (_, i) => String(((i * 7919) % 10007) / 128));

/** Text to numbers, a map of small objects, a sort and a float loop: about what a parser and a neighbour search do. */
function script(): void {
  const groups = new Map<number, { sum: number; members: number[] }>();
  for (const [i, text] of NUMBERS.entries()) {
    const value = Number.parseFloat(text);
    const key = Math.floor(value);
    const group = groups.get(key);
    if (group) {
      group.sum += value;
      group.members.push(i);
    } else groups.set(key, { sum: value, members: [i] });
  }
  const points = Float64Array.from(NUMBERS, Number);
  let near = 0;
  for (let i = 0; i < 900; i++)
    for (let j = 0; j < 900; j++) {
      const d = Math.sqrt((points[i] - points[j]) ** 2 + 0.01);
      if (d < 8) near += 1 / d;
    }
  const order = [...groups.values()].sort((a, b) => a.sum - b.sum);
  if (!(near > 0 && order.length > 0)) throw new Error("the reference loop did nothing");
}
