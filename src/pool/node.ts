/** Modules of Node, Deno and Bun without an import, which bundlers for browsers would stumble over. */

interface Modules {
  "node:worker_threads": typeof import("node:worker_threads");
  "node:os": typeof import("node:os");
}

/** Undefined in browsers, and before Node 20.16. */
export function nodeModule<Name extends keyof Modules>(name: Name): Modules[Name] | undefined {
  return globalThis.process?.getBuiltinModule?.(name) as Modules[Name] | undefined;
}
