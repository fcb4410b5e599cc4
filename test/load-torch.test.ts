/** Load reports against PyTorch: its load_state_dict on random state dicts, and the names its wrappers really give. */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { CgcnnConfig } from "../src/config.js";
import { matchStateDict } from "../src/load-report.js";
import { CGCNN } from "../src/models/cgcnn.js";
import { seededRandom } from "../src/random.js";
import type { StateDict } from "../src/tensor.js";

type Shapes = Record<string, readonly number[]>;
interface Answer {
  version: string;
  names: Record<string, string[]>;
  cases: { missing: string[]; unexpected: string[]; wrong: string[] }[];
}

const CASES = 60;

const sizes = { features: 7, hidden: 4, edges: 5, convs: 2, dense: 6 };
const config: CgcnnConfig = {
  type: "cgcnn",
  task: "regression",
  outputs: 1,
  elementFeatures: sizes.features,
  hidden: sizes.hidden,
  convs: sizes.convs,
  dense: sizes.dense,
  denseLayers: 2,
  graph: { select: "nearest", cutoff: 8, maxNeighbors: 12 },
  basis: { first: 0, step: 0.2, count: sizes.edges },
};
const expected = CGCNN.tensors(config);

/**
 * Some tensors taken out, renamed, reshaped, added; counters too, but not reshaped: torch has a rule for old scalars.
 * No names below a tensor's ("bias.x"): torch 1.13 does not see that they are unexpected, 2.13 does.
 */
function mutation(random: () => number): Shapes {
  const shapes: Shapes = {};
  const rate = random() * 0.4;
  for (const [name, { shape = [], optional }] of expected) {
    const change = random() < rate ? Math.floor(random() * 4) : -1;
    if (change === 0) continue;
    if (change === 1) shapes[`${name}2`] = shape;
    else if (change === 2 && !optional) shapes[name] = [...shape, 1];
    else if (change === 3 && !optional) shapes[name] = shape.map((size) => size + 1);
    else shapes[name] = shape;
  }
  if (random() < rate) shapes["another.bn.num_batches_tracked"] = [];
  return shapes;
}

function askTorch(cases: readonly Shapes[]): Answer | undefined {
  const pythons = [process.env.UNITCELL_PYTHON, ".venv-torch/bin/python", "/usr/bin/python3"];
  for (const python of pythons) {
    if (!python || (python.includes("/") && !existsSync(python))) continue;
    const { status, stdout, stderr } = spawnSync(python, ["test/load_report.py"], {
      input: JSON.stringify({ sizes, cases }),
      encoding: "utf8",
    });
    if (status === 0) {
      const answer = JSON.parse(stdout) as Answer;
      console.log(`torch ${answer.version} (${python})`);
      return answer;
    }
    if (!/No module named/.test(stderr)) throw new Error(`${python}: ${stderr}`);
  }
  console.log("skipped: load reports against PyTorch (no Python with torch; set UNITCELL_PYTHON)");
  return undefined;
}

const stateDictOf = (shapes: Shapes): StateDict =>
  new Map(Object.entries(shapes).map(([name, shape]) => [name, { dtype: "f32", shape, data: new Uint8Array(0) }]));

const random = seededRandom(3);
const cases = Array.from({ length: CASES }, () => mutation(random));
const answer = askTorch(cases);

if (answer) {
  test(`${CASES} random state dicts: missing, unexpected and wrong-shaped as load_state_dict has them`, () => {
    let refused = 0;
    for (const [i, shapes] of cases.entries()) {
      const { report } = matchStateDict(expected, stateDictOf(shapes), { strict: false });
      const found = {
        missing: [...report.missing].sort(),
        unexpected: [...report.unexpected].sort(),
        wrong: report.wrongShape.map(({ name }) => name).sort(),
      };
      assert.equal(found, answer.cases[i], `case ${i}`);
      if (Object.values(found).some((names) => names.length)) refused++;
    }
    assert.ok(refused > CASES / 2 && refused < CASES, `${refused} refused`);
  });

  for (const [wrapper, names] of Object.entries(answer.names))
    test(`names of torch's ${wrapper}`, () => {
      const bare = answer.names.bare;
      const shapes = Object.fromEntries(names.map((name, i) => [name, expected.get(bare[i])?.shape ?? [-1]]));
      const { report } = matchStateDict(expected, stateDictOf(shapes));
      assert.equal([...report.matched].sort(), [...expected.keys()].sort());
      assert.equal(report.remapped.map(({ from }) => from).sort(), names.filter((name) => !bare.includes(name)).sort());
    });
}

test.run();
