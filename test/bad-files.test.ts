/** The shared corpus of bad files: each is refused with a fitting code, in time, or may load by its manifest. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type ErrorCode, isUnitcellError } from "../src/errors.js";
import { loadTorch } from "../src/formats/torch.js";
import { fixtureBytes, fixtureJson, haveFixtures } from "./fixtures.js";

if (haveFixtures("torch/bad")) {
  interface BadFile {
    class: string;
    accept?: string[];
    may_succeed?: boolean;
    globals?: string[];
    max_seconds: number;
  }
  const { files: bad } = fixtureJson<{ files: Record<string, BadFile> }>("torch/bad/manifest.json");
  /** Codes that say what a class of the manifest says. */
  const CODES: Readonly<Record<string, readonly ErrorCode[]>> = {
    "unsafe-global": ["UNSAFE"],
    "unsafe-opcode": ["UNSAFE"],
    "limit-exceeded": ["LIMIT"],
    "zip-bomb": ["LIMIT", "CORRUPT"],
    "zip-unsupported": ["UNSUPPORTED"],
    "unsupported-format": ["UNSUPPORTED"],
    "unsupported-dtype": ["UNSUPPORTED", "CORRUPT"],
    "unsupported-version": ["UNSUPPORTED"],
    "not-a-checkpoint": ["UNSUPPORTED", "CORRUPT"],
    "zip-path": ["CORRUPT", "LIMIT"],
  };
  /** Deviations from the manifest that the later issue removes, each with its reason. */
  const LOADS = new Map([
    ["tensor_size_float.pt", "a size of 2.0 is the same JavaScript number as 2; the bounds still hold"],
  ]);
  const counts: Record<string, number> = {};
  for (const [name, file] of Object.entries(bad))
    test(`bad corpus: ${name}`, async () => {
      const bytes = fixtureBytes(`torch/bad/${name}`);
      const started = performance.now();
      const error = await loadTorch(bytes).then(
        () => undefined,
        (reason) => reason,
      );
      assert.ok(performance.now() - started < 1000 * file.max_seconds, "in time");
      assert.is(({} as Record<string, unknown>).polluted, undefined);
      const outcome =
        error === undefined ? "loaded" : isUnitcellError(error) ? error.code : assert.unreachable(error.stack);
      counts[outcome as string] = (counts[outcome as string] ?? 0) + 1;
      if (error === undefined) return assert.ok(file.may_succeed || LOADS.has(name), "must be refused");
      const allowed = [file.class, ...(file.accept ?? [])].flatMap((kind) => CODES[kind] ?? ["CORRUPT"]);
      // Not opened at all yet, so that what is wrong inside is not reached.
      const unopened =
        error.code === "UNSUPPORTED" && /tar file|TorchScript|safetensors|sparse|Complex/.test(error.message);
      assert.ok(allowed.includes(error.code) || unopened || file.may_succeed, `${error.code}: ${error.message}`);
      if (error.code === "UNSAFE" && file.globals && file.class === "unsafe-global")
        assert.equal(error.detail.globals, file.globals);
    });
  test("bad corpus: counts", () => console.log(`\ncorpus, bad files: ${JSON.stringify(counts)}`));
}

test.run();
