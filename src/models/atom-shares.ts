import { knownOf } from "./known.js";
import type { Model } from "./model.js";
import type { ShareRule } from "./shares.js";

/** How a model's predictions are split among the atoms; undefined for classifiers, and where more than the mean of the atoms is read. */
export async function shareRuleOf({ config, program }: Model): Promise<ShareRule | undefined> {
  return config.task === "regression" ? (await knownOf(config).load()).shares?.(config, program.params) : undefined;
}

/**
 * What each atom contributes to a regression's outputs, in the property's unit: (N, outputs) row-major, adding up to them;
 * by the rules of shares.ts from the atoms' last features (N, F), in float64 arithmetic.
 * @param rule as shareRuleOf gives it
 */
export function atomShares({ normalizer }: Model, rule: ShareRule, atoms: Float32Array, count: number): Float64Array {
  const columns = atoms.length / count;
  const pooled = new Float64Array(columns);
  for (const [k, x] of atoms.entries()) pooled[k % columns] += x / count;
  const { gradient, start } = rule(pooled);
  const outputs = start.length;
  const { mean, std } = normalizer ?? { mean: 0, std: 1 };
  const shares = new Float64Array(count * outputs);
  for (let i = 0; i < count; i++)
    for (let o = 0; o < outputs; o++) {
      let output = start[o];
      for (let c = 0; c < columns; c++) output += gradient[o * columns + c] * atoms[i * columns + c];
      shares[i * outputs + o] = (output * std + mean) / count;
    }
  return shares;
}
