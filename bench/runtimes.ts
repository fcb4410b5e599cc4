/** Packages that only the bench and some tests use, in a folder of their own: .ci/run installs them there. */
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const FOLDER = resolve("build/runtimes/node_modules");

/** What is exported under a name. @throws {Error} where it is not installed */
export async function fromRuntimes<Exports>(name: string): Promise<Exports> {
  const path = createRequire(join(FOLDER, "x.js")).resolve(name);
  return (await import(pathToFileURL(path).href)) as Exports;
}
