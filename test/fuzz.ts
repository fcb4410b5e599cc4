/** Mutation fuzz for the structure readers: whatever the text, only Structures and UnitcellErrors come out. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { UnitcellError } from "../src/errors.js";
import { seededRandom } from "../src/random.js";
import type { StructureFormat } from "../src/structures/parse.js";
import { parseAll } from "./parsed.js";

const ROUNDS = 1500;

/** Characters and words that mean something to one of the formats. */
const BITS = [
  "\n",
  " ",
  "\t",
  "'",
  '"',
  ";",
  "\n;\n",
  "_",
  "loop_",
  "data_",
  "#",
  "?",
  ".",
  "-",
  "+",
  "0",
  "9",
  "1e9",
  "(",
  ")",
];
const MORE = [
  ",",
  "=",
  "{",
  "[",
  "}",
  "]",
  ":",
  "NaN",
  "x",
  "/0",
  "\0",
  "\ufeff",
  "é",
  "999999999",
  "-1",
  "null",
  "T",
  "s\n",
];
const PIECES = [...BITS, ...MORE];

/** Whole numbers from 0, below a bound. */
function randomInts(seed: number): (below: number) => number {
  const random = seededRandom(seed);
  return (below) => Math.floor(random() * below);
}

function mutate(text: string, random: (below: number) => number): string {
  let out = text;
  for (let edits = 1 + random(4); edits > 0; edits--) {
    const at = random(out.length + 1);
    const to = Math.min(out.length, at + random(12));
    const kind = random(5);
    if (kind === 0) out = out.slice(0, at);
    else if (kind === 1) out = out.slice(0, at) + out.slice(to);
    else if (kind === 2) out = out.slice(0, at) + PIECES[random(PIECES.length)] + out.slice(at);
    else if (kind === 3) out = out.slice(0, at) + PIECES[random(PIECES.length)] + out.slice(to);
    else out = out.slice(0, to) + out.slice(at);
  }
  return out;
}

/** Register a test that parses ROUNDS mutations of each sample, as its format and by sniffing. */
export function fuzz(name: string, format: StructureFormat, samples: readonly string[]): void {
  test(`fuzz ${name}: ${ROUNDS} mutations of ${samples.length} samples`, () => {
    const random = randomInts(20240501);
    for (const sample of samples)
      for (let round = 0; round < ROUNDS; round++) {
        const text = mutate(sample, random);
        const options = round % 4 === 3 ? { filename: "unknown" } : { format };
        let count = 0;
        for (const result of parseAll(text, options)) {
          count++;
          if (result instanceof UnitcellError) continue;
          const values = [...result.lattice, ...result.fracCoords];
          assert.ok(values.every(Number.isFinite) && result.numbers.every((z) => z > 0), text);
        }
        assert.ok(count > 0, text);
      }
  });
}
