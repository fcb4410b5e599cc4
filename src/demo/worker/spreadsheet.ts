/** Records as a spreadsheet may read them: programs for these run a cell of a file as a formula, by its first character. */
import type { FailedPrediction, Prediction } from "../../prediction.js";

const FORMULA = /^[=+\-@\t\r]/;

/** Text from files, or from who typed it, with a quote before what would be a formula. Numbers are left as they are. */
export function withoutFormulas<T extends Prediction | FailedPrediction>(record: T): T {
  const safe: T = { ...record, ...safeTexts(record, ["id"]) };
  if ("error" in safe) return safe;
  const { model } = safe;
  return {
    ...safe,
    ...safeTexts(safe, ["formula", "property", "unit"]),
    model: { ...model, ...safeTexts(model, ["name"]) },
  };
}

/** Of the fields that are there; an error's text begins with its code. */
function safeTexts<K extends string>(of: { readonly [P in K]?: string | undefined }, names: readonly K[]): object {
  return Object.fromEntries(
    names.flatMap((name) => {
      const text = of[name];
      return text !== undefined && FORMULA.test(text) ? [[name, `'${text}`]] : [];
    }),
  );
}
