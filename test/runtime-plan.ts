/** What every runtime is given: the networks and structures that ship, checkpoints of every container, the shared fixtures. */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { global, ops, str, torchZip, tuple } from "./build-files.js";
import { fixtureNames, fixturesRoot, haveFixtures } from "./fixtures.js";
import { CHECKPOINTS, goldens, TOLERANCE } from "./goldens.js";
import { ALIGNN_TOLERANCE, alignnGoldens } from "./goldens-alignn.js";
import { megnetGoldens } from "./goldens-megnet.js";
import type { Terms } from "./runtime-server.js";
import type { Golden, Network, Plan } from "./runtime-suite.js";

/** A plan, and the files that it names by key. */
export interface Served {
  readonly plan: Omit<Plan, keyof Terms>;
  file(key: string): Uint8Array | undefined;
}

const MODELS = ["cgcnn", "alignn", "megnet"] as const;

/** Of ALIGNN's 17: each head, the layers of both versions, a radius graph, lattice parameters. */
const ALIGNN = [
  "alignn_default",
  "alignn_small_extra_classification",
  "atomwise_graph",
  "variants/atomwise_classification",
  "variants/multi_output",
  "variants/log_link",
];

const isStructure = (name: string) => /\.(cif|vasp|extxyz)$/.test(name);
const idOf = (name: string) => name.replace(/\.\w+$/, "");
const within = (least: readonly number[], most = least): Golden => ({ least, most });

const HOSTILE = {
  "made/reduce.pt": torchZip(ops(global("posix", "system"), tuple(str("exit 1")), "REDUCE")),
  "made/object.pt": torchZip(ops(global("__main__", "Run"), ops("EMPTY_TUPLE"), "NEWOBJ")),
};

/** @param published also what people trained, where the fixtures are */
export function runtimePlan({ published }: { published: boolean }): Served {
  const containers = [["cgcnn", "containers", "dtypes", "views"]]
    .flat()
    .map((name) => ["zip", "legacy", "deflated"].map((kind) => `test/fixtures/torch/${name}.${kind}.pt`));
  if (haveFixtures("torch")) containers.push(["fixtures/torch/tar_legacy.pt"]);
  const networks = [...exampleNetworks(), ...(published ? publishedNetworks() : [])];
  const alone = networks.flatMap(({ files }) => (files.length === 1 ? files : []));
  return {
    plan: {
      networks,
      containers,
      hostile: Object.fromEntries(Object.keys(HOSTILE).map((key) => [key, "UNSAFE"])),
      hashes: Object.fromEntries(
        alone.map((key) => [key, createHash("sha256").update(fileOf(key)).digest("hex")] as const),
      ),
      cache: shippedCache(),
    },
    file: (key) => (Object.hasOwn(HOSTILE, key) ? HOSTILE[key as keyof typeof HOSTILE] : fileOf(key)),
  };
}

/** Keys are paths in the repository, and "fixtures/..." in the shared fixtures. */
function fileOf(key: string): Uint8Array {
  return readFileSync(key.startsWith("fixtures/") ? join(fixturesRoot, key.slice("fixtures/".length)) : key);
}

interface Reference {
  readonly f64: number;
  readonly tie_min?: number;
  readonly tie_max?: number;
}

/** Against examples/train/reference.py's PyTorch, as in examples.test.ts. */
function exampleNetworks(): Network[] {
  const reference = JSON.parse(readFileSync("test/fixtures/ionic-predictions.json", "utf8"));
  return MODELS.map((model) => {
    const { structures } = (model === "cgcnn" ? reference : reference[model]) as {
      structures: Record<string, Reference>;
    };
    const rows = Object.entries(structures).map(
      ([file, { f64, tie_min = f64, tie_max = f64 }]) =>
        [`examples/structures/${file}`, within([tie_min], [tie_max])] as const,
    );
    return {
      name: `${model} example`,
      files: [`examples/saved_models/${model}_ionic_best.pt`],
      goldens: Object.fromEntries(rows),
      tolerance: model === "cgcnn" ? TOLERANCE : 2e-6,
      isRelative: model !== "cgcnn",
      areLogs: false,
      isSmall: true,
    };
  });
}

/** All 54 structures, as in predict.test.ts. */
function publishedNetworks(): Network[] {
  const names = fixtureNames("structures").filter(isStructure);
  const goldensOf = (of: (id: string) => Golden) =>
    Object.fromEntries(names.map((name) => [`fixtures/structures/${name}`, of(idOf(name))] as const));
  const cgcnn = CHECKPOINTS.map((name) => {
    const all = goldens(name);
    return {
      name: `CGCNN ${name}`,
      files: [`fixtures/cgcnn/${name}.pth.tar`],
      goldens: goldensOf((id) => within([all.get(id)!.tie_min], [all.get(id)!.tie_max])),
      tolerance: TOLERANCE,
      isRelative: false,
      areLogs: false,
      isSmall: false,
    };
  });
  const all = alignnGoldens();
  const alignn = ALIGNN.map((name) => {
    const { predictions } = all.get(name)!;
    const numbers = (id: string) => [predictions[id].f64].flat(2);
    return {
      name: `ALIGNN ${name}`,
      files: ["best_model.pt", "config.json"].map((file) => `fixtures/alignn/${name}/${file}`),
      goldens: goldensOf((id) => within(numbers(id))),
      tolerance: ALIGNN_TOLERANCE,
      isRelative: true,
      // Of two classes upstream gives log-probabilities, of one output its probability.
      areLogs: name.includes("classification") && numbers(idOf(names[0])).length > 1,
      isSmall: false,
    };
  });
  const bonded = new Map(megnetGoldens().map((one) => [one.id, one]));
  const megnet = {
    name: "MEGNet",
    files: ["state.pt", "model.pt", "model.json"].map((file) => `fixtures/megnet/${file}`),
    goldens: goldensOf((id) => (bonded.get(id)!.nan ? "refused" : within([bonded.get(id)!.f64]))),
    tolerance: TOLERANCE,
    isRelative: false,
    areLogs: false,
    isSmall: false,
  };
  return [...cgcnn, ...alignn, megnet];
}

/** As examples.test.ts makes its ensemble. */
function shippedCache(): Plan["cache"] {
  const members = MODELS.map((model) => {
    const path = `examples/saved_models/${model}_ionic`;
    const { property, unit, elements } = JSON.parse(readFileSync(`${path}_metadata.json`, "utf8"));
    return { file: `${path}_best.pt`, property, unit, trainedOn: elements };
  });
  const structures = readdirSync("examples/structures")
    .filter(isStructure)
    .sort()
    .map((name) => `examples/structures/${name}`);
  return { file: "examples/saved_models/ensemble_predictions.pt", members, structures };
}
