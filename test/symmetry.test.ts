import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isUnitcellError } from "../src/errors.js";
import { hallOperators } from "../src/structures/hall.js";
import table from "../src/structures/space-groups.json";
import type { SymmetryOperator } from "../src/structures/symmetry.js";

/** The same canonical text as test/fixtures/make-spacegroups.py. */
function operatorHash(operators: readonly SymmetryOperator[]): string {
  const lines = operators.map(({ rotation, translation }) =>
    [...rotation, ...translation.map((t) => Math.round(t * 24) % 24)].join(),
  );
  return `${lines.length} ${createHash("sha256").update(lines.sort().join("\n")).digest("hex").slice(0, 12)}`;
}

const spglib = JSON.parse(readFileSync("test/fixtures/space-group-operators.json", "utf8")) as { settings: string[] };
const settings = table.settings.split("\n").map((line) => line.split("|"));

test("Hall symbols: all 530 settings expand to spglib's operators", () => {
  assert.is(settings.length, 530);
  const wrong = settings.flatMap(([number, choice, hall], i) => {
    const hash = operatorHash(hallOperators(hall));
    return hash === spglib.settings[i] ? [] : [`${number}:${choice} ${hall}: ${hash}, expected ${spglib.settings[i]}`];
  });
  assert.equal(wrong, []);
});

void isUnitcellError;
test.run();
