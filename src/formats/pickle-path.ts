/** Words for what a value is and where in a larger one it lies: the messages of the pickle writer. */
import { TorchSize, type TorchValue } from "./values.js";

/** A step of a path that is no index or key, e.g. ".state". */
export class Part {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

export function isTuple(value: readonly TorchValue[]): boolean {
  return Object.isFrozen(value) || value instanceof TorchSize;
}

/** What a value is, for messages; never its contents. */
export function describe(value: unknown): string {
  if (value === undefined || value === null) return String(value);
  if (typeof value !== "object") return `a ${typeof value}`;
  if (Array.isArray(value)) return isTuple(value) ? "a tuple" : "a list";
  const name = Object.getPrototypeOf(value)?.constructor?.name;
  return name === "Object" || !name ? "a plain object (a dict is a Map)" : `an object of class ${name}`;
}

/** `value["optimizer"][3]`; the middle of a long path is left out. */
export function pathOf(places: readonly unknown[]): string {
  const steps = places.map((place) => {
    if (place instanceof Part) return place.text;
    if (typeof place === "string") return `[${JSON.stringify(place.slice(0, 100))}]`;
    return typeof place === "object" ? `[${describe(place)}]` : place === undefined ? "" : `[${String(place)}]`;
  });
  if (steps.length > 20) steps.splice(10, steps.length - 20, "…");
  return `value${steps.join("")}`;
}
