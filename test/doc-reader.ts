/**
 * What a reader of the documentation has: the packed package in a project of its own, the commands that blocks call, and
 * the files that they take for granted.
 */
import { execFileSync } from "node:child_process";
import { chmodSync, cpSync, existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { fixturesRoot, haveFixtures } from "./fixtures.js";
import { PYTHON_2 } from "./interop.js";

const RUNTIMES = resolve("build/runtimes/node_modules");
const SYSTEM_PYTHON = process.env.UNITCELL_PYTHON ?? "/usr/bin/python3";
const WORKERD = `${RUNTIMES}/@cloudflare/workerd-linux-64/bin/workerd`;
/** A block's status when something that it needs is not on this machine. */
export const ABSENT = 77;

/** Networks that are published, where the shared fixtures are there; else the examples' under their names. */
export const hasPublished = haveFixtures("cgcnn") && haveFixtures("megnet");
const published = (file: string, example: string) =>
  hasPublished ? join(fixturesRoot, file) : `examples/saved_models/${example}_ionic_best.pt`;
const saved = (name: string) => `examples/saved_models/${name}.pt`;
const structure = (name: string) => `examples/structures/${name}`;

/** Files of a reader's own that pages name; a list becomes a folder. */
const FILES: Readonly<Record<string, string | readonly string[]>> = {
  "formation-energy-per-atom.pth.tar": published("cgcnn/formation-energy-per-atom.pth.tar", "cgcnn"),
  "MEGNet-MP-2018.6.1-Eform": hasPublished
    ? ["state.pt", "model.pt", "model.json"].map((name) => join(fixturesRoot, "megnet", name))
    : [saved("megnet_ionic_best")],
  "model.pt": saved("cgcnn_ionic_best"),
  "best.pt": saved("cgcnn_ionic_best"),
  "large.pt": saved("cgcnn_ionic_best"),
  "run1_best.pt": saved("cgcnn_ionic_best"),
  "run2_best.pt": saved("alignn_ionic_best"),
  "run3_best.pt": saved("megnet_ionic_best"),
  "NaCl.cif": structure("NaCl-rocksalt.cif"),
  "structure.cif": structure("NaCl-rocksalt.cif"),
  "relaxation.extxyz": structure("MgO-displaced.extxyz"),
  "my-structures": ["CsCl.cif", "NaCl-rocksalt.cif", "ZnO-wurtzite.cif"].map(structure),
  examples: readdirSync("examples").map((name) => `examples/${name}`),
};

/** Puts the files that a page names into a folder. */
export function supply(page: string, folder: string): void {
  const text = page.replaceAll(/https:\/\/example\.org\/|(?<!\.)\.\//g, "");
  for (const [name, from] of Object.entries(FILES)) {
    const isNamed = new RegExp(`(?<![\\w/.-])${name.replaceAll(".", "\\.")}(?![\\w-])`).test(text);
    if (!isNamed) continue;
    const to = join(folder, name);
    if (typeof from === "string") cpSync(from, to);
    else for (const file of from) cpSync(file, join(to, basename(file)), { recursive: true });
  }
}

/** The package, packed, in an empty project. @returns the PATH of its blocks */
export function installPacked(project: string): string {
  const npm = (...args: string[]) => execFileSync("npm", args, { cwd: project, encoding: "utf8", stdio: "pipe" });
  writeFileSync(join(project, "package.json"), '{ "private": true, "type": "module" }\n');
  npm("pack", resolve("."), "--ignore-scripts", "--silent");
  const [tarball] = readdirSync(project).filter((name) => name.endsWith(".tgz"));
  npm("install", `./${tarball}`, "--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund");
  const bin = join(project, "bin");
  mkdirSync(bin);
  for (const [name, lines] of Object.entries(commands(join(project, "node_modules")))) {
    writeFileSync(join(bin, name), `#!/usr/bin/env bash\n${lines}\n`);
    chmodSync(join(bin, name), 0o755);
  }
  return `${bin}:${process.env.PATH}`;
}

/**
 * Stand-ins, so that blocks install nothing and start fast: `npm install NAME` links a package that is on this machine,
 * `npx NAME` runs the project's command of that name without npm, `pip install NAME` only looks.
 */
function commands(modules: string): Record<string, string> {
  const python = pythonWithTorch();
  const binary = (path: string) => (existsSync(path) ? `exec "${path}" "$@"` : `exit ${ABSENT}`);
  return {
    npm: `[ "$1" = install ] || { echo "npm $1 is not among what blocks may call" >&2; exit 1; }
for name in "\${@:2}"; do
  case "$name" in -*) continue ;; esac
  [ -e "${modules}/$name" ] && continue
  found=
  for from in "${resolve("node_modules")}" "${RUNTIMES}"; do [ -e "$from/$name" ] && found="$from/$name"; done
  [ "$found" ] || { echo "absent: $name" >&2; exit ${ABSENT}; }
  ln -sfn "$found" "${modules}/$name"
done`,
    npx: `for from in "${modules}/.bin" "${resolve("node_modules/.bin")}"; do
  [ -e "$from/$1" ] && exec "$from/$1" "\${@:2}"
done
[ "$1" = workerd ] && [ -e "${WORKERD}" ] && exec "${WORKERD}" "\${@:2}"
echo "absent: $1" >&2; exit ${ABSENT}`,
    pip: `for name in "\${@:2}"; do "${python}" -c "import \${name%%=*}" || exit ${ABSENT}; done`,
    python: binary(python),
    python3: binary(SYSTEM_PYTHON),
    deno: binary(`${RUNTIMES}/@deno/linux-x64-glibc/deno`),
    bun: binary(`${RUNTIMES}/@oven/bun-linux-x64/bin/bun`),
  };
}

/** PyTorch 2 where it is installed, else the system's Python. */
function pythonWithTorch(): string {
  const second = resolve(PYTHON_2);
  return existsSync(second) ? second : SYSTEM_PYTHON;
}
