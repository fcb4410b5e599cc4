/**
 * Whole modules (`torch.save(model)`, TorchScript) without their classes: what `module.state_dict()` would give.
 * Source: torch/nn/modules/module.py, `_save_to_state_dict`.
 */
import type { StateDict } from "../tensor.js";
import { TorchTensor } from "./torch-tensors.js";
import { PythonObject, type TorchValue } from "./values.js";

/** Where nn.Module keeps its parts. */
const PARTS = ["_parameters", "_buffers"] as const;
const TORCHSCRIPT = "__torch__.";

/** True for an object with the attributes of an nn.Module, or one that TorchScript compiled. */
export function isModule(value: TorchValue | undefined): value is PythonObject {
  if (!(value instanceof PythonObject) || !(value.state instanceof Map)) return false;
  return value.type.startsWith(TORCHSCRIPT) || (isDict(value.state, "_parameters") && isDict(value.state, "_modules"));
}

function isDict(state: ReadonlyMap<TorchValue, TorchValue>, key: string): boolean {
  return state.get(key) instanceof Map;
}

/**
 * Parameters and persistent buffers by dotted name, in torch's order. TorchScript does not record which buffers are
 * persistent: all its tensors are given.
 * @param module an object for which isModule is true
 */
export function moduleStateDict(module: PythonObject): StateDict {
  const stateDict: StateDict = new Map();
  const seen = new Set<PythonObject>();
  // A stack of modules still to do, the next one last: depth first, children in order, and no recursion.
  const open: { module: PythonObject; prefix: string }[] = [{ module, prefix: "" }];
  while (open.length > 0) {
    const { module: current, prefix } = open.pop()!;
    // A module that contains itself has no state dict in torch either.
    if (seen.has(current)) continue;
    seen.add(current);
    const { tensors, children } = contentsOf(current);
    for (const [name, tensor] of tensors) stateDict.set(prefix + name, tensor);
    for (const [name, child] of [...children].reverse()) open.push({ module: child, prefix: `${prefix}${name}.` });
  }
  return stateDict;
}

interface Contents {
  readonly tensors: Map<string, TorchTensor>;
  readonly children: Map<string, PythonObject>;
}

function contentsOf({ type, state }: PythonObject): Contents {
  const attributes = state as ReadonlyMap<TorchValue, TorchValue>;
  const contents: Contents = { tensors: new Map(), children: new Map() };
  if (type.startsWith(TORCHSCRIPT)) {
    take(attributes, contents);
    return contents;
  }
  const hidden = attributes.get("_non_persistent_buffers_set");
  const skip: ReadonlySet<TorchValue> = hidden instanceof Set ? hidden : new Set();
  for (const part of PARTS) {
    const named = attributes.get(part);
    if (named instanceof Map) take(named, contents, part === "_buffers" ? skip : new Set());
  }
  const modules = attributes.get("_modules");
  if (modules instanceof Map) take(modules, contents);
  return contents;
}

/** Named tensors and modules of a dict; None and everything else is no part of a state dict. */
function take(
  dict: ReadonlyMap<TorchValue, TorchValue>,
  contents: Contents,
  skip: ReadonlySet<TorchValue> = new Set(),
): void {
  for (const [name, value] of dict) {
    if (typeof name !== "string" || skip.has(name)) continue;
    if (value instanceof TorchTensor) contents.tensors.set(name, value);
    else if (isModule(value)) contents.children.set(name, value);
  }
}
