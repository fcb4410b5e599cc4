/** What browser-manager.test.ts has done in pages and workers: this file is bundled for both. */
import { indexedDbStore, opfsStore, type Store } from "../src/checkpoints.js";
import { goOn, lookOn, tidy, train } from "./manager.flow.js";

export type Kind = "opfs" | "indexedDb";

const parts = { train, lookOn, tidy, goOn };
export type Part = keyof typeof parts;

async function call(part: Part, kind: Kind, name: string): Promise<void> {
  const store: Store = await (kind === "opfs" ? opfsStore(name) : indexedDbStore(name));
  await parts[part](store);
}

if (typeof document === "object") {
  const worker = new Worker("/page.js", { type: "module" });
  Object.assign(globalThis, {
    call,
    /** The same in the page's worker. */
    callWorker: (...values: Parameters<typeof call>) =>
      new Promise((resolve, reject) => {
        worker.onmessage = ({ data }) => (data === undefined ? resolve(undefined) : reject(new Error(data)));
        worker.postMessage(values);
      }),
  });
} else
  addEventListener("message", ({ data }) => {
    call(...(data as Parameters<typeof call>)).then(
      () => postMessage(undefined),
      (error) => postMessage(String(error.stack)),
    );
  });
