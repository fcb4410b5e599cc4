import { UnitcellError } from "../errors.js";
import type { TorchValue } from "../formats/values.js";

type Dict = ReadonlyMap<string, TorchValue>;

/** Reads settings by name, and notes which were there and which had to be assumed. */
export class SettingsReader {
  readonly found: string[] = [];
  readonly #assumed: string[] = [];
  readonly #sources: readonly (Dict | undefined)[];

  /** @param sources in order of precedence */
  constructor(...sources: readonly (Dict | undefined)[]) {
    this.#sources = sources;
  }

  /** As it stands in the first source that has it; neither found nor assumed. */
  raw(name: string): TorchValue | undefined {
    return this.#sources.find((source) => source?.has(name))?.get(name);
  }

  number(name: string, fallback: number): number {
    const isNumber = (value: TorchValue) => typeof value === "number" && Number.isFinite(value);
    return this.#read(name, fallback, isNumber, "a number") as number;
  }

  positiveInteger(name: string, fallback: number): number {
    const fits = (value: TorchValue) => typeof value === "number" && Number.isInteger(value) && value > 0;
    return this.#read(name, fallback, fits, "a positive integer") as number;
  }

  flag(name: string, fallback: boolean): boolean {
    return this.#read(name, fallback, (value) => typeof value === "boolean", "true or false") as boolean;
  }

  choice<Choice extends string>(name: string, choices: readonly Choice[], fallback: Choice): Choice {
    const isChoice = (value: TorchValue) => (choices as readonly TorchValue[]).includes(value);
    return this.#read(name, fallback, isChoice, `one of ${choices.join(", ")}`, "UNSUPPORTED") as Choice;
  }

  /** One sentence, or none. */
  assumed(title: string): string[] {
    return this.#assumed.length
      ? [`settings not in the checkpoint, ${title}'s defaults used: ${this.#assumed.join(", ")}`]
      : [];
  }

  #read(
    name: string,
    fallback: TorchValue,
    fits: (value: TorchValue) => boolean,
    what: string,
    code: "CORRUPT" | "UNSUPPORTED" = "CORRUPT",
  ): TorchValue {
    const value = this.raw(name);
    if (value === undefined) {
      this.#assumed.push(`${name} ${String(fallback)}`);
      return fallback;
    }
    if (!fits(value))
      throw new UnitcellError(code, `setting "${name}" must be ${what}, found ${JSON.stringify(value)}`);
    this.found.push(`${name} ${String(value)}`);
    return value;
  }
}

/**
 * What settings say of sizes against what the tensors' shapes say.
 * @throws {UnitcellError} MISMATCH, every contradiction named
 */
export function compareSizes(bySettings: SettingsReader, byTensors: Readonly<Record<string, number>>): void {
  const contradictions = Object.entries(byTensors).flatMap(([name, size]) => {
    const value = bySettings.raw(name);
    return value === undefined || value === size
      ? []
      : [`${name} is ${String(value)} in the arguments, ${size} by the tensors`];
  });
  if (contradictions.length) throw new UnitcellError("MISMATCH", contradictions.join("; "), { contradictions });
}
