/** A model as the file it could have come from. */
import { saveTorch } from "../src/formats/torch-save.js";
import type { TorchValue } from "../src/formats/values.js";
import { ELEMENT_TABLE } from "../src/models/architecture.js";
import type { Model } from "../src/models/model.js";

/** Weights and normalizer, as a .pt of the training layout; settings are those that the weights' shapes tell. */
export function checkpointOf({ program, normalizer }: Model, args?: Readonly<Record<string, TorchValue>>): Uint8Array {
  const tensors = [...program.params]
    .filter(([name]) => name !== ELEMENT_TABLE)
    .map(([name, { shape, data }]): [string, TorchValue] => {
      const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
      return [name, { dtype: "f32", shape, data: bytes } as unknown as TorchValue];
    });
  return saveTorch(
    new Map<TorchValue, TorchValue>([
      ["state_dict", new Map(tensors)],
      ...(normalizer ? [["normalizer", new Map(Object.entries(normalizer))] as const] : []),
      ...(args ? [["args", new Map(Object.entries(args))] as const] : []),
    ]),
  );
}
