/** workerd with a worker that is bundled as Cloudflare's are. */
import type { ChildProcess } from "node:child_process";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { get } from "node:http";
import { join } from "node:path";
import { build } from "esbuild";
import { BOTH, type Found, INSTALLS, RUNTIMES, startProcess, versionOf } from "./runtime-host.js";

export const WORKERD = `${RUNTIMES}/@cloudflare/workerd-linux-64/bin/workerd`;

/**
 * workerd compiles no Wasm from bytes: the condition of that name leads to modules, which a bundler leaves as imports and the
 * configuration lists. The limit of 128 MB is Cloudflare's, not workerd's own: V8 is held to half of it each for its heap and
 * for a Wasm memory, and what the process took is told.
 */
export function workerd(): Found {
  const name = "workerd";
  if (!existsSync(WORKERD)) return { name, missing: `no workerd at ${WORKERD} (${INSTALLS})` };
  return {
    name,
    version: () => versionOf(WORKERD, "--version"),
    builds: BOTH,
    fuses: true,
    // 16 MB of weights, and 141 MiB in all.
    tooLarge: ["ALIGNN alignn_default: fixtures/structures/super-srtio3-200.cif"],
    async start({ folder }, base) {
      const out = join(folder, "workerd");
      writeFileSync(
        join(folder, "worker.mjs"),
        `import { run } from "./host.mjs";
        export default { async fetch(request, { BASE }) { await run(BASE); return new Response("done"); } };`,
      );
      await bundleWorker(join(folder, "worker.mjs"), out, base);
      const { running, address } = await startWorkerd(out);
      get(address).on("error", () => {});
      const peak = () => /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${running.child.pid}/status`, "utf8"))?.[1];
      return {
        ...running,
        note: () => `V8 heap and Wasm memory of 64 MiB, process ${Math.round(Number(peak()) / 1024)} MiB at most`,
      };
    },
  };
}

/** Writes a worker and its configuration into a folder; Wasm and .bin files stay files of their own. */
export async function bundleWorker(entry: string, out: string, base = ""): Promise<void> {
  await build({
    entryPoints: { worker: entry },
    bundle: true,
    format: "esm",
    target: "es2022",
    conditions: ["workerd", "worker"],
    loader: { ".wasm": "copy", ".bin": "copy" },
    assetNames: "[name]",
    outdir: out,
    outExtension: { ".js": ".mjs" },
  });
  writeFileSync(join(out, "config.capnp"), workerdConfig(readdirSync(out), base));
}

/** Starts what bundleWorker wrote, and waits until it listens. */
export async function startWorkerd(out: string) {
  const command = [WORKERD, "serve", "--control-fd=3", "config.capnp"];
  const running = startProcess(command, out, { extra: ["pipe"] });
  const port = await Promise.race([listeningPort(running.child), running.ended]);
  return { running, address: `http://127.0.0.1:${port}/` };
}

const MODULE_KINDS: Readonly<Record<string, string>> = { mjs: "esModule", wasm: "wasm", bin: "data" };

function workerdConfig(files: readonly string[], base: string): string {
  const kindOf = (file: string) => MODULE_KINDS[file.split(".").at(-1)!];
  const modules = ["worker.mjs", ...files.filter((file) => file !== "worker.mjs" && kindOf(file))].map(
    (file) => `(name = "${file}", ${kindOf(file)} = embed "${file}")`,
  );
  return `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "main", worker = .worker), (name = "local", network = (allow = ["local"]))],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "main")],
  v8Flags = ["--max-old-space-size=64", "--wasm-max-mem-pages=1024"]
);
const worker :Workerd.Worker = (
  modules = [${modules.join(", ")}],
  compatibilityDate = "2026-11-01",
  globalOutbound = "local",
  bindings = [(name = "BASE", text = "${base}")],
);
`;
}

/** Of a workerd that was started with --control-fd=3. */
export async function listeningPort(child: ChildProcess): Promise<number> {
  for await (const line of child.stdio[3] as AsyncIterable<Buffer>) {
    const port = /"event":"listen".*"port":(\d+)/.exec(line.toString())?.[1];
    if (port) return Number(port);
  }
  throw new Error("workerd does not listen");
}
