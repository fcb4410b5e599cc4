/** Numbers as the page shows them. */
import type { PredictSummary } from "./messages.js";

/** A predicted value: decimals and not digits, so that columns can be compared. */
export function shownValue(value: number | undefined, decimals = 4): string {
  if (value === undefined) return "";
  const size = Math.abs(value);
  return size !== 0 && (size >= 1e6 || size < 10 ** -decimals) ? value.toExponential(3) : value.toFixed(decimals);
}

/** Any number in few digits. */
export function shownNumber(value: number | bigint | undefined): string {
  if (value === undefined) return "none";
  return typeof value === "bigint" || Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(6)));
}

/** "0.8 s", "35 ms". */
export function shownTime(ms: number): string {
  return ms < 1000 ? `${Number(ms.toPrecision(2))} ms` : `${(ms / 1000).toFixed(1)} s`;
}

/** The end of a prediction, in a sentence: what was computed now, which is not all that there is. */
export function finishedText({ computed, failed, done, total, cancelled, elapsedMs, backend }: PredictSummary): string {
  if (cancelled) return `Cancelled: ${done} of ${total} structures are done.`;
  if (total === 0) return "No structures are open.";
  if (computed === 0) return `Nothing was left to predict: ${structures(done)} ${done === 1 ? "is" : "are"} done.`;
  const how = backend ? ` by ${backend}` : "";
  const errors = failed > 0 ? `, ${failed} of them with errors` : "";
  const all = done > computed ? `; ${done} are done in all` : "";
  return `${structures(computed)} in ${shownTime(elapsedMs)}${how}${errors}${all}.`;
}

const structures = (count: number) => `${count} ${count === 1 ? "structure" : "structures"}`;
