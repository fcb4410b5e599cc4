/** The examples that are servers, each started as its README says, on any free port; or why it cannot be. */
import { existsSync } from "node:fs";
import { INSTALLS, RUNTIMES, startProcess } from "./runtime-host.js";
import { listeningPort } from "./workerd-host.js";

export interface Serving {
  /** "http://127.0.0.1:PORT/" */
  readonly url: string;
  stop(): Promise<void>;
}

export interface ExampleServer {
  readonly name: string;
  /** Which of the expected values it gives. */
  readonly model: "cgcnn" | "together";
  /** Whether it lets a body come to its end that is not read; workerd closes the connection. */
  readonly takesAll: boolean;
  /** A file without which there is no such runtime. */
  readonly needs: string;
  /** @param folder a project with the package installed and the examples copied */
  start(folder: string): Promise<Serving>;
}

export const DENO = `${RUNTIMES}/deno/bin.cjs`;
const BUN = `${RUNTIMES}/@oven/bun-linux-x64/bin/bun`;
const WORKERD = `${RUNTIMES}/@cloudflare/workerd-linux-64/bin/workerd`;

/** Whether a runtime is there; said where it is not. */
export function isThere(name: string, needs: string): boolean {
  const there = existsSync(needs);
  if (!there) console.log(`skipped: no ${name} at ${needs} (${INSTALLS})`);
  return there;
}

const handler = "examples/serverless/handler.js";

export const SERVERS: readonly ExampleServer[] = [
  { name: "edge, workerd", model: "cgcnn", needs: WORKERD, takesAll: false, start: startWorkerd },
  {
    name: "serverless, Node",
    model: "together",
    needs: process.execPath,
    takesAll: true,
    start: (folder) => startPrinting([process.execPath, "examples/serverless/node.mjs"], folder),
  },
  {
    name: "serverless, Deno",
    model: "together",
    needs: DENO,
    takesAll: true,
    start: (folder) =>
      startPrinting([process.execPath, DENO, "serve", "--allow-read", "--host=127.0.0.1", "--port=0", handler], folder),
  },
  {
    name: "serverless, Bun",
    model: "together",
    needs: BUN,
    takesAll: true,
    start: (folder) => startPrinting([BUN, handler], folder),
  },
];

async function startWorkerd(folder: string): Promise<Serving> {
  const command = [WORKERD, "serve", "examples/edge/config.capnp", "--socket-addr=http=127.0.0.1:0", "--control-fd=3"];
  const { child, ended, stop } = startProcess(command, folder, { extra: ["pipe"] });
  const port = await Promise.race([listeningPort(child), ended]);
  return { url: `http://127.0.0.1:${port}/`, stop };
}

/** A server that prints its address. */
async function startPrinting(command: readonly string[], folder: string): Promise<Serving> {
  const { child, ended, stop } = startProcess(command, folder, { env: { PORT: "0" } });
  const printed = new Promise<string>((found) => {
    let text = "";
    for (const stream of [child.stdout!, child.stderr!])
      stream.on("data", (part: Buffer) => {
        text += part;
        const port = /http:\/\/(?:127\.0\.0\.1|localhost):(\d+)/.exec(text)?.[1];
        if (port) found(port);
      });
  });
  return { url: `http://127.0.0.1:${await Promise.race([printed, ended])}/`, stop };
}
