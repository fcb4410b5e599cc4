/** Gives each runtime its plan and files, pages the installed package too, and takes what it found. */

import { existsSync, readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { json } from "node:stream/consumers";
import { type InstalledPackage, importMap } from "./installed-package.js";
import type { Served } from "./runtime-plan.js";
import type { Outcome, Plan } from "./runtime-suite.js";

/** One run of the suite. */
export interface SuiteRun {
  /** The address that runSuite takes, of a page that calls it in browsers. */
  readonly base: string;
  readonly outcome: Promise<Outcome>;
}

/** What a plan asks of one runtime and not of another. */
export type Terms = Pick<Plan, "builds" | "mayLackMemory">;

export interface RuntimeServer {
  expect(terms: Terms): SuiteRun;
  stop(): void;
}

const JAVASCRIPT = /\.m?js$/;

export async function startRuntimeServer(installed: InstalledPackage, served: Served): Promise<RuntimeServer> {
  const runs: { terms: Terms; found(outcome: Outcome): void; failed(error: Error): void }[] = [];
  let origin = "";

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const [, run, path] = /^\/(\d+)\/(.*)$/.exec(request.url!) ?? [];
    const expected = runs[Number(run)];
    const send = (type: string, body: string | Uint8Array) =>
      response.writeHead(200, { "Content-Type": type }).end(body);
    if (!expected) response.writeHead(404).end();
    else if (path === "") send("text/html", page(installed, `${origin}/${run}/`));
    else if (path === "plan.json")
      send("application/json", JSON.stringify({ ...served.plan, ...expected.terms } satisfies Plan));
    else if (path.startsWith("files/")) send("application/octet-stream", served.file(path.slice("files/".length))!);
    else if (path === "outcome") {
      const body = (await json(request)) as Outcome | { failure: string };
      send("text/plain", "taken");
      if ("failure" in body) expected.failed(new Error(body.failure));
      else expected.found(body);
    } else if (JAVASCRIPT.test(path) && existsSync(join(installed.folder, path)))
      send("text/javascript", readFileSync(join(installed.folder, path)));
    else response.writeHead(404).end();
  }

  const server: Server = createServer((request, response) => {
    answer(request, response).catch((error) => response.writeHead(500).end(String(error)));
  });
  // A runtime that computes for longer than the usual 5 s would send into a connection that is closed meanwhile.
  server.keepAliveTimeout = 0;
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    expect(terms) {
      const outcome = new Promise<Outcome>((found, failed) => runs.push({ terms, found, failed }));
      return { base: `${origin}/${runs.length - 1}/`, outcome };
    },
    stop() {
      server.closeAllConnections();
      server.close();
    },
  };
}

const page = (installed: InstalledPackage, base: string) => `<!doctype html>
<meta charset="utf-8">
<script type="importmap">${JSON.stringify(importMap(installed, base))}</script>
<script type="module">
import("./host.mjs").then(({ run }) => run(location.href), (error) =>
  fetch("outcome", { method: "POST", body: JSON.stringify({ failure: String(error) }) }));
</script>`;
