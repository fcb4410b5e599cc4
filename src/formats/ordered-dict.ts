/** How a pickle makes collections.OrderedDict, which holds every state dict. */
import { UnitcellError } from "../errors.js";
import { describe, type KeyCount } from "./pickle-machine.js";
import { Float, isFloatAt, OrderedDict, placeFloat, placeFloatKey, type TorchValue } from "./values.js";

/** OrderedDict() or, from Python 2, OrderedDict([[key, value], ...]). */
export function createOrderedDict(args: readonly TorchValue[], keys: KeyCount): OrderedDict {
  const items = onlyArgument(args);
  const dict = new OrderedDict();
  if (items === undefined) return dict;
  if (!Array.isArray(items)) throw corrupt(`an OrderedDict is made from ${describe(items)}`);
  for (const pair of items) {
    if (!Array.isArray(pair) || pair.length !== 2)
      throw corrupt("an OrderedDict is made from something other than pairs");
    const key = placeFloatKey(itemAt(pair, 0), dict);
    keys.add(key);
    dict.set(key, placeFloat(itemAt(pair, 1), dict, key));
  }
  return dict;
}

/** An item to be put into another container, which must learn that it is a float. */
export function itemAt(items: readonly TorchValue[], index: number): TorchValue {
  const item = items[index];
  return typeof item === "number" && isFloatAt(items, index) ? new Float(item) : item;
}

export function onlyArgument(args: readonly TorchValue[]): TorchValue | undefined {
  if (args.length > 1) throw corrupt(`expected at most 1 argument, found ${args.length}`);
  return args[0];
}

function corrupt(message: string): UnitcellError {
  return new UnitcellError("CORRUPT", `malformed pickle: ${message}`);
}
