/** The runtimes that the package is for, and how each is started on the suite in a project that has the package installed. */
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { build } from "esbuild";
import { chromium, firefox, webkit } from "./browser-hosts.js";
import type { InstalledPackage } from "./installed-package.js";
import { BOTH, DENO_FLAGS, type Found, INSTALLS, PROGRAMS, startProcess, versionOf } from "./runtime-host.js";
import { workerd } from "./workerd-host.js";

/** Writes the suite and what starts it into the project; the package is imported as any project does. */
export async function writeSuite({ folder }: InstalledPackage): Promise<void> {
  await build({
    entryPoints: ["test/runtime-suite.ts"],
    bundle: true,
    format: "esm",
    target: "es2022",
    outfile: join(folder, "suite.mjs"),
  });
  const host = `
    import * as library from "unitcell";
    import * as edge from "unitcell/edge";
    import * as onnx from "unitcell/ort";
    import { runSuite } from "./suite.mjs";
    export const run = (base) => runSuite({ library, edge, onnx }, base);`;
  writeFileSync(join(folder, "host.mjs"), host);
  writeFileSync(join(folder, "main.mjs"), `import { run } from "./host.mjs";\nawait run(process.argv[2]);\n`);
}

export const RELAXED_FLAG = "--experimental-wasm-relaxed-simd";

export function findHosts(): Found[] {
  // Relaxed SIMD is behind a flag there.
  const is20 = process.version.startsWith("v20.");
  return [
    script("Node", [PROGRAMS.node], { builds: is20 ? ["baseline"] : BOTH }),
    ...(is20 ? [script("Node, relaxed SIMD by flag", [PROGRAMS.node, RELAXED_FLAG], { builds: ["relaxed"] })] : []),
    script("newest Node", [PROGRAMS.newestNode]),
    script("Deno", [PROGRAMS.deno], { flags: [...DENO_FLAGS, "--allow-net=127.0.0.1"] }),
    script("Bun", [PROGRAMS.bun], { fuses: false }),
    workerd(),
    chromium(),
    firefox(),
    webkit("WebKitGTK", ["baseline"], {}),
    webkit("WebKitGTK, relaxed SIMD by switch", ["relaxed"], { JSC_useWasmRelaxedSIMD: "1" }),
  ];
}

/** A runtime that runs a script. */
function script(
  name: string,
  command: readonly string[],
  { builds = BOTH, flags = [] as readonly string[], fuses = true } = {},
): Found {
  const missing = command.find((part) => part.startsWith("/") && !existsSync(part));
  if (missing) return { name, missing: `no ${name} at ${missing} (${INSTALLS})` };
  const [program, ...first] = command;
  return {
    name,
    version: () => versionOf(program, ...first, "--version"),
    builds,
    fuses,
    tooLarge: [],
    start: async ({ folder }, base) => startProcess([...command, ...flags, "main.mjs", base], folder),
  };
}
