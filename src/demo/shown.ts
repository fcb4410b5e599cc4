/** Numbers as the page shows them. */

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
