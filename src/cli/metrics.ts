/** Which of a run's metrics to show where there is no room for all. */

/** What says most about a model first. */
const ORDER = [/^val_mae$/, /^val.*(mae|loss|error|rmse)/i, /^val/i, /^loss$/i, /mae|loss|error|rmse/i];
/** Settings and clocks that stand among the metrics. */
const NO_METRIC = /^(epoch|step|lr|lr_.*|learning_rate|.*time.*|seconds)$/i;
const HIGHER_IS_BETTER = /acc|auc|r2|f1|score|precision|recall|correlation/i;

/** Names from the most telling to the least, each once. */
export function rankMetrics(names: Iterable<string>): string[] {
  const rank = (name: string) => {
    const at = ORDER.findIndex((pattern) => pattern.test(name));
    return at < 0 ? ORDER.length : at;
  };
  const distinct = [...new Set(names)].filter((name) => !NO_METRIC.test(name));
  return distinct.sort((a, b) => rank(a) - rank(b));
}

/** By its name: a history does not say. */
export function modeOf(metric: string): "min" | "max" {
  return HIGHER_IS_BETTER.test(metric) && !/loss|error/i.test(metric) ? "max" : "min";
}

/** "a,b" of an option; undefined where it was not given. */
export function parseNames(text: string | undefined): string[] | undefined {
  const names = text?.split(",").map((name) => name.trim());
  return names?.filter((name) => name !== "");
}
