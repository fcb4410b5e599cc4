/** Medians, quartiles and the result table. */

/** Times of one step on one side, in the row's unit: the median and the quartiles around it. */
export interface Summary {
  readonly median: number;
  readonly low: number;
  readonly high: number;
}

/** One line of the table. Numbers are in `unit`; `ratio` is Python's time over unitcell's. */
export interface Row {
  readonly section: string;
  readonly step: string;
  readonly size: string;
  readonly unit: string;
  readonly ours: Summary;
  readonly python?: Summary;
  readonly ratio?: number;
}

/** What a section of the bench gives: lines for the table, remarks under it, and what fails the whole bench. */
export interface SectionResult {
  readonly rows: readonly Row[];
  readonly notes?: readonly string[];
  readonly failures?: readonly string[];
  /** Times beyond their budget: failures too, but not of a quick run, which may share its machine. */
  readonly slow?: readonly string[];
}

/** Value below which the fraction `q` of the samples lies, interpolated between neighbours (numpy's default). */
export function quantile(samples: readonly number[], q: number): number {
  const sorted = [...samples].sort((a, b) => a - b);
  const at = (sorted.length - 1) * q;
  const below = Math.floor(at);
  return sorted[below] + (at - below) * ((sorted[below + 1] ?? sorted[below]) - sorted[below]);
}

export const median = (samples: readonly number[]): number => quantile(samples, 0.5);

export function summarize(samples: readonly number[]): Summary {
  return { median: median(samples), low: quantile(samples, 0.25), high: quantile(samples, 0.75) };
}

/** A summary in another unit. A conversion that falls, as time to speed does, swaps the quartiles. */
export function convert({ median: middle, low, high }: Summary, to: (value: number) => number): Summary {
  const [a, b] = [to(low), to(high)];
  return { median: to(middle), low: Math.min(a, b), high: Math.max(a, b) };
}

export function geometricMean(values: readonly number[]): number {
  return Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);
}

/** Least-squares slope of log y over log x: the exponent p of y ~ x^p. */
export function growthExponent(x: readonly number[], y: readonly number[]): number {
  const [logX, logY] = [x.map(Math.log), y.map(Math.log)];
  const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const [meanX, meanY] = [mean(logX), mean(logY)];
  const covariance = logX.reduce((sum, value, i) => sum + (value - meanX) * (logY[i] - meanY), 0);
  return covariance / logX.reduce((sum, value) => sum + (value - meanX) ** 2, 0);
}

/** Three significant figures, without an exponent. */
export function figures(value: number): string {
  if (value === 0 || !Number.isFinite(value)) return String(value);
  const decimals = 2 - Math.floor(Math.log10(Math.abs(value)));
  const factor = 10 ** decimals;
  return (Math.round(value * factor) / factor).toFixed(Math.max(0, decimals));
}

const spread = ({ low, high }: Summary) => `[${figures(low)} .. ${figures(high)}]`;

/** Rows as one aligned table, Markdown at the same time, a heading row before each section. */
export function table(rows: readonly Row[]): string {
  const cells = [["step", "size", "unit", "unitcell", "[quartiles]", "Python", "[quartiles]", "Python / unitcell"]];
  for (const { step, size, unit, ours, python, ratio } of rows)
    cells.push([
      step,
      size,
      unit,
      figures(ours.median),
      spread(ours),
      python ? figures(python.median) : "-",
      python ? spread(python) : "-",
      ratio ? `${figures(ratio)}x` : "-",
    ]);
  const widths = cells[0].map((_, column) => Math.max(...cells.map((row) => row[column].length)));
  const text = 3; // columns of words, to the left; the rest are numbers
  const lines = cells.map(
    (row) => `| ${row.map((cell, i) => (i < text ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join(" | ")} |`,
  );
  const rule = `| ${widths.map((width, i) => (i < text ? "-".repeat(width) : `${"-".repeat(width - 1)}:`)).join(" | ")} |`;
  return [lines[0], rule, ...lines.slice(1)].join("\n");
}
