import { existsSync, readFileSync } from "node:fs";
import { cpus } from "node:os";

const LINUX = "/proc/cpuinfo";

/** Its maker's name, which virtual machines shorten, and on Linux what sets two of that name most apart in speed. */
export function processorName(): string {
  const name = cpus()[0].model.trim();
  if (!existsSync(LINUX)) return name;
  const flags = /^(?:flags|Features)\s*:(.*)$/m.exec(readFileSync(LINUX, "utf8"))?.[1].split(/\s+/) ?? [];
  if (flags.includes("avx512f")) return `${name} with AVX-512`;
  return flags.includes("avx2") ? `${name} with AVX2` : name;
}
