/** The built package as its users have it: packed by npm, and installed into an empty project. Run after a build. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface InstalledPackage {
  /** The project's folder, with unitcell and fflate in its node_modules. */
  readonly folder: string;
  /** Of the packed file. */
  readonly bytes: number;
  remove(): void;
}

function npm(folder: string, ...args: string[]): string {
  const path = process.env.npm_execpath;
  const [command, ...first] = path ? [process.execPath, path] : ["npm"];
  return execFileSync(command, [...first, ...args], {
    cwd: folder,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
  });
}

/** Without a network: fflate is packed from our own node_modules, whose version the lock names. */
export function installPackage(): InstalledPackage {
  const folder = mkdtempSync(join(tmpdir(), "unitcell-installed-"));
  const pack = (what: string): { filename: string; size: number } => {
    const output = npm(process.cwd(), "pack", what, "--json", "--ignore-scripts", "--pack-destination", folder);
    // npm 10 lists packages, npm 11 may key them by name.
    const parsed = JSON.parse(output);
    return Array.isArray(parsed) ? parsed[0] : (Object.values(parsed)[0] as { filename: string; size: number });
  };
  const [unitcell, fflate] = [pack("."), pack("./node_modules/fflate")];
  writeFileSync(join(folder, "package.json"), JSON.stringify({ private: true, type: "module" }));
  const tarballs = [unitcell, fflate].map(({ filename }) => `./${filename}`);
  npm(folder, "install", "--offline", "--ignore-scripts", "--no-audit", "--no-fund", ...tarballs);
  return { folder, bytes: unitcell.size, remove: () => rmSync(folder, { recursive: true, force: true }) };
}

interface Manifest {
  readonly exports?: Conditions;
  readonly imports?: Readonly<Record<string, Conditions>>;
}
type Conditions = string | { readonly [key: string]: Conditions };

/** An import map for a page that serves a project's node_modules below `base`: what browsers have in place of a bundler. */
export function importMap({ folder }: InstalledPackage, base: string): { imports: Record<string, string> } {
  const imports: Record<string, string> = {};
  for (const name of ["unitcell", "fflate"]) {
    const manifest: Manifest = JSON.parse(readFileSync(join(folder, "node_modules", name, "package.json"), "utf8"));
    const add = (specifier: string, target: Conditions) => {
      const file = browserFile(target);
      if (file) imports[specifier] = `${base}node_modules/${name}/${file.slice(2)}`;
    };
    for (const [path, target] of Object.entries(manifest.exports as { [key: string]: Conditions }))
      add(`${name}${path.slice(1)}`, target);
    for (const [specifier, target] of Object.entries(manifest.imports ?? {})) add(specifier, target);
  }
  return { imports };
}

/** What conditions "import" and "default" lead to. */
function browserFile(target: Conditions): string | undefined {
  if (typeof target === "string") return target;
  const inner = Object.entries(target).find(([condition]) => condition === "import" || condition === "default");
  return inner && browserFile(inner[1]);
}
