/** What is used of onnxruntime-web and onnxruntime-node; neither is imported, the user brings it. */
import { UnitcellError } from "../errors.js";

/** What is read of an ort.Tensor. */
export interface OrtTensor {
  readonly data: unknown;
  dispose?(): void;
}

/** What is called of an ort.InferenceSession. */
export interface OrtInferenceSession {
  run(feeds: Readonly<Record<string, OrtTensor>>): Promise<Readonly<Record<string, OrtTensor>>>;
  release(): Promise<void>;
}

/** The module's own object: `import * as ort from "onnxruntime-web/webgpu"`. */
export interface OrtModule {
  readonly InferenceSession: {
    create(model: Uint8Array, options?: Record<string, unknown>): Promise<OrtInferenceSession>;
  };
  readonly Tensor: new (
    type: "float32" | "int32",
    data: Float32Array | Int32Array,
    dims: readonly number[],
  ) => OrtTensor;
}

/** A module, or what loads it when it is first needed. */
export type OrtSource = OrtModule | (() => Promise<OrtModule>);

/** @throws {UnitcellError} BACKEND where the user's function fails; its error is the cause */
export async function loadOrt(source: OrtSource): Promise<OrtModule> {
  if (typeof source !== "function") return source;
  try {
    return await source();
  } catch (cause) {
    throw new UnitcellError("BACKEND", `onnxruntime cannot be loaded: ${(cause as Error).message}`, {}, { cause });
  }
}

/** By InferenceSession, which a module has in common with its default export and with what a user wraps it in. */
const queues = new WeakMap<object, Promise<unknown>>();

/**
 * One call of a module after the other. Two at a time, even of different sessions, hang onnxruntime-web's WebGPU provider or
 * leave the memory of the whole module corrupt (1.30).
 */
export function inTurn<T>({ InferenceSession }: OrtModule, call: () => Promise<T>): Promise<T> {
  const turn = (queues.get(InferenceSession) ?? Promise.resolve()).then(call);
  queues.set(
    InferenceSession,
    turn.catch(() => {}),
  );
  return turn;
}
