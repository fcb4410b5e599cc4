import type { Model } from "../models/model.js";
import type { Param } from "../ops/program.js";

/** A model as workers get it, and the number that stands for it afterwards. */
export interface SentModel {
  readonly id: number;
  readonly model: Model;
}

/** Models as they are sent, made once each. A model's number is given up when neither it nor a request is held any more. */
export class SentModels {
  readonly #sent = new WeakMap<Model, SentModel>();
  readonly #unused: FinalizationRegistry<number>;
  #last = 0;

  /** @param forget is told the numbers that are given up */
  constructor(forget: (id: number) => void) {
    this.#unused = new FinalizationRegistry(forget);
  }

  of(model: Model): SentModel {
    const known = this.#sent.get(model);
    if (known) return known;
    const sent = { id: ++this.#last, model: withOneBuffer(model) };
    this.#sent.set(model, sent);
    this.#unused.register(sent, sent.id);
    return sent;
  }
}

/**
 * The model with all its weights in one buffer of no more than their size: parameters may be views of a whole file, which
 * would be sent with them. Where memory can be shared all workers get this buffer, else each its copy.
 */
function withOneBuffer(model: Model): Model {
  const { program } = model;
  const bytes = [...program.params.values()].reduce((sum, { data }) => sum + data.byteLength, 0);
  const buffer = canShare() ? new SharedArrayBuffer(bytes) : new ArrayBuffer(bytes);
  const params = new Map<string, Param>();
  let at = 0;
  for (const [name, { shape, data }] of program.params) {
    // Typed as if it were not shared: nobody writes to weights.
    const copy = new Float32Array(buffer as ArrayBuffer, at, data.length);
    copy.set(data);
    params.set(name, { shape, data: copy });
    at += data.byteLength;
  }
  return { ...model, program: { ...program, params } };
}

/** Pages may share memory when they are isolated from other origins; Node, Deno and Bun always may. */
function canShare(): boolean {
  return typeof SharedArrayBuffer === "function" && globalThis.crossOriginIsolated !== false;
}
