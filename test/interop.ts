/** The PyTorch installations tests compare with, and how to ask them (test/interop.py). */
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";

export interface PyTorch {
  readonly version: string;
  /** Runs test/interop.py with these arguments; its JSON. */
  run<T>(...args: string[]): T;
}

/** UNITCELL_PYTHON_TORCH2, or the virtual environment that .ci/run makes. */
export const PYTHON_2 = process.env.UNITCELL_PYTHON_TORCH2 ?? ".venv-torch/bin/python";

export function pytorch2(): PyTorch | undefined {
  return find("PyTorch 2", /^2\./, PYTHON_2);
}

/** Runs a script in the Python that has the safetensors library beside PyTorch 2; gives the JSON it prints. */
export function safetensorsPython(): ((script: string, ...args: string[]) => unknown) | undefined {
  const run = (script: string, ...args: string[]) =>
    execFileSync(PYTHON_2, ["-c", script, ...args], { encoding: "utf8", stdio: "pipe" });
  try {
    const version = run("import torch, safetensors; print(safetensors.__version__)").trim();
    console.log(`safetensors ${version} in ${PYTHON_2}`);
    return (script, ...args) => JSON.parse(run(script, ...args));
  } catch (error) {
    console.log(`skipped: no safetensors library (${(error as Error).message.split("\n")[0]})`);
    return undefined;
  }
}

/** PyTorch 1.13: UNITCELL_PYTHON, or the system's Python. */
export function pytorch1(): PyTorch | undefined {
  return find("PyTorch 1.13", /^1\.13/, process.env.UNITCELL_PYTHON ?? "/usr/bin/python3");
}

function find(name: string, version: RegExp, python: string): PyTorch | undefined {
  const skipped = (reason: string) => {
    console.log(`skipped: no ${name} (${reason})`);
    return undefined;
  };
  if (!existsSync(python)) return skipped(`${python} is absent`);
  const run = <T>(...args: string[]): T => {
    const out = execFileSync(python, ["test/interop.py", ...args], {
      encoding: "utf8",
      maxBuffer: 2 ** 29,
      stdio: "pipe",
    });
    return JSON.parse(out) as T;
  };
  let found: { torch: string; python: string };
  try {
    found = run("versions");
  } catch (error) {
    return skipped(
      `${python} cannot import it: ${String((error as { stderr?: string }).stderr)
        .trim()
        .split("\n")
        .at(-1)}`,
    );
  }
  if (!version.test(found.torch)) return skipped(`${python} has ${found.torch}`);
  console.log(`${name}: ${python} has torch ${found.torch}, Python ${found.python}`);
  return { version: found.torch, run };
}
