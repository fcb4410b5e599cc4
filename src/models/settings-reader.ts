import { UnitcellError } from "../errors.js";
import { kindOf } from "../formats/kind-of.js";
import type { TorchValue } from "../formats/values.js";

type Dict = ReadonlyMap<string, TorchValue>;

/**
 * The most that settings may ask for which decide work or memory. A file is not trusted with them; the networks that
 * were published stay far below.
 */
export const MOST = {
  /** Å. CGCNN and ALIGNN have 8, MEGNet 4 to 5; a sphere of 100 Å holds some 400,000 atoms. */
  cutoff: 100,
  /** CGCNN and ALIGNN have 12; the time for one atom's list grows with the square. */
  neighbors: 256,
  /** ALIGNN has 5; a loop in the kernel for each bond. */
  exponent: 100,
  /** matgl has 2; a dozen operations each. */
  set2setSteps: 100,
} as const;

/** Where a setting's number has to lie: above the one, and up to the other. */
interface Bounds {
  readonly above?: number;
  readonly most?: number;
}

/** Characters of a text that messages show. */
const MOST_CHARACTERS = 60;

/** A setting in a message: bounded, since the file decides what it is. */
export function shownSetting(value: TorchValue | undefined): string {
  if (typeof value === "string")
    return JSON.stringify(value.length > MOST_CHARACTERS ? `${value.slice(0, MOST_CHARACTERS)}...` : value);
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  return value === undefined ? "nothing" : kindOf(value);
}

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

  /** @throws {UnitcellError} CORRUPT for what is no finite number or not above the bound, LIMIT beyond the most */
  number(name: string, fallback: number, { above = Number.NEGATIVE_INFINITY, most }: Bounds = {}): number {
    const fits = (value: TorchValue) => typeof value === "number" && Number.isFinite(value) && value > above;
    const what = above === Number.NEGATIVE_INFINITY ? "a number" : `a number above ${above}`;
    return this.#atMost(name, this.#read(name, fallback, fits, what) as number, most);
  }

  /** @throws {UnitcellError} CORRUPT for anything else, LIMIT beyond the most */
  positiveInteger(name: string, fallback: number, most: number): number {
    const fits = (value: TorchValue) => typeof value === "number" && Number.isInteger(value) && value > 0;
    return this.#atMost(name, this.#read(name, fallback, fits, "a positive integer") as number, most);
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

  #atMost(name: string, value: number, most = Number.POSITIVE_INFINITY): number {
    if (value > most)
      throw new UnitcellError("LIMIT", `setting "${name}" is ${value}, the limit is ${most}`, {
        name,
        value,
        limit: most,
      });
    return value;
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
    if (!fits(value)) throw new UnitcellError(code, `setting "${name}" must be ${what}, found ${shownSetting(value)}`);
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
      : [`${name} is ${shownSetting(value)} in the arguments, ${size} by the tensors`];
  });
  if (contradictions.length) throw new UnitcellError("MISMATCH", contradictions.join("; "), { contradictions });
}
