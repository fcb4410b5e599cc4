/** dist/pool-worker.js: what runs in each worker of a pool. */
import { UnitcellError } from "../errors.js";
import type { Model } from "../models/model.js";
import { predictStream } from "../predict.js";
import { parseEach } from "../structures/parse.js";
import type { Structure, UnreadStructure } from "../structures/structure.js";
import type { FromWorker, Item, Records, Request, ToWorker } from "./messages.js";
import { nodeModule } from "./node.js";

const parent = nodeModule("node:worker_threads")?.parentPort;
const models = new Map<number, Model>();

function tell(message: FromWorker): void {
  if (parent) parent.postMessage(message);
  else postMessage(message);
}

async function obey(order: ToWorker): Promise<void> {
  if (order.type === "model") models.set(order.id, order.model);
  else if (order.type === "forget") models.delete(order.id);
  else tell({ type: "records", records: await predictItems(order.request, order.items) });
}

async function predictItems({ models: ids, ensemble, options }: Request, items: readonly Item[]): Promise<Records[]> {
  const members = ids.map((id) => models.get(id)!);
  const structures = items.map(structuresOf);
  const model = ensemble ? { ...ensemble, members } : members[0];
  const records = predictStream(model, structures.flat(), options);
  const result: Records[] = [];
  for (const { length } of structures) {
    const own: Records = [];
    while (own.length < length) own.push((await records.next()).value!);
    result.push(own);
  }
  return result;
}

function structuresOf(item: Item): (Structure | UnreadStructure)[] {
  if (!("text" in item)) return [item];
  const { text, ...options } = item;
  try {
    return [...parseEach(text, options)];
  } catch (error) {
    if (error instanceof UnitcellError) return [{ error }];
    throw error;
  }
}

/** One order after the other, as they come. */
let last = Promise.resolve();

function hear(order: ToWorker): void {
  last = last.then(() => obey(order)).catch((error) => tell({ type: "failed", message: String(error) }));
}

/**
 * A page is not told when its worker ends; but a Web Lock is free then.
 * @returns its name; undefined where there are none (in pages without a secure context)
 */
async function holdLock(): Promise<string | undefined> {
  const { locks } = globalThis.navigator ?? {};
  if (!locks) return undefined;
  const name = `unitcell/pool/${crypto.randomUUID()}`;
  return new Promise((resolve) => {
    const held = () => {
      resolve(name);
      return new Promise<never>(() => {});
    };
    locks.request(name, held).catch(() => resolve(undefined));
  });
}

/** Not at the top level, where bundlers that make classic scripts of workers cannot have it wait. */
async function start(): Promise<void> {
  if (parent) parent.on("message", hear);
  else addEventListener("message", ({ data }) => hear(data));
  const lock = parent ? undefined : await holdLock();
  // Before this no message would be heard.
  tell({ type: "ready", ...(lock !== undefined && { lock }) });
}

void start();
