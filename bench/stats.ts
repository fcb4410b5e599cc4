/** Medians, quartiles and the result tables. */

/** Times of one step on one side, in the row's unit: the median and the quartiles around it. */
export interface Summary {
  readonly median: number;
  readonly low: number;
  readonly high: number;
}

/** One line of the table. Numbers are in `unit`; `ratio` is the fastest peer's time over unitcell's. */
export interface Row {
  readonly section: string;
  readonly step: string;
  readonly size: string;
  readonly unit: string;
  readonly ours: Summary;
  /** unitcell done otherwise, by the name of the column. */
  readonly variants?: Readonly<Record<string, Summary>>;
  /** Python's side, of several the fastest. */
  readonly python?: Summary;
  /** Each peer by the name of its column, where there are others than one Python. */
  readonly peers?: Readonly<Record<string, Summary>>;
  readonly ratio?: number;
  /** Quartiles of the ratio, where it is a mean over inputs. */
  readonly ratioSpread?: Summary;
}

/** A curve, a cloud of points or bars, for the plots and for whoever reads the JSON. */
export interface Series {
  /** Which plot, and which panel of it. */
  readonly plot: "ratios" | "growth-atoms" | "growth-batch" | "levels";
  readonly panel: string;
  /** Its colour's name in the legend. */
  readonly name: string;
  readonly points: readonly { readonly x: number; readonly y: number; readonly label?: string }[];
}

/** What a section of the bench gives: lines for the table, remarks under it, and what fails the whole bench. */
export interface SectionResult {
  readonly rows: readonly Row[];
  readonly notes?: readonly string[];
  readonly failures?: readonly string[];
  /** Times beyond their budget: failures too, but not of a quick run, which may share its machine. */
  readonly slow?: readonly string[];
  readonly series?: readonly Series[];
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

/** Over inputs rather than rounds: the geometric mean with the quartiles over inputs. */
export function acrossInputs(values: readonly number[]): Summary {
  return { median: geometricMean(values), low: quantile(values, 0.25), high: quantile(values, 0.75) };
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

const cell = ({ median: middle, low, high }: Summary) =>
  low === middle && high === middle ? figures(middle) : `${figures(middle)} [${figures(low)} .. ${figures(high)}]`;

/** Rows as aligned Markdown tables, one a section, each with the columns that its rows need. */
export function tables(rows: readonly Row[]): string {
  const sections = [...new Set(rows.map(({ section }) => section))];
  return sections
    .map((section) => `### ${section}\n\n${table(rows.filter((row) => row.section === section))}`)
    .join("\n\n");
}

function table(rows: readonly Row[]): string {
  const names = (of: (row: Row) => object) => [...new Set(rows.flatMap((row) => Object.keys(of(row))))];
  const variants = names((row) => row.variants ?? {});
  const peers = names(peersOf);
  const heads = ["step", "size", "unit", "unitcell", ...variants, ...peers];
  const ratioHead = peers.length === 0 ? [] : [`${peers.length > 1 ? "fastest peer" : peers[0]} / unitcell`];
  const cells = [[...heads, ...ratioHead]];
  for (const row of rows) {
    const columns = { ...row.variants, ...peersOf(row) };
    const others = [...variants, ...peers].map((name) => (columns[name] ? cell(columns[name]) : "-"));
    const ratio = row.ratio ? `${figures(row.ratio)}x${spreadOf(row.ratioSpread)}` : "-";
    cells.push([row.step, row.size, row.unit, cell(row.ours), ...others, ...(ratioHead.length ? [ratio] : [])]);
  }
  const widths = cells[0].map((_, column) => Math.max(...cells.map((row) => row[column].length)));
  const text = 3; // columns of words, to the left; the rest are numbers
  const lines = cells.map(
    (row) => `| ${row.map((cell, i) => (i < text ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join(" | ")} |`,
  );
  const rule = `| ${widths.map((width, i) => (i < text ? "-".repeat(width) : `${"-".repeat(width - 1)}:`)).join(" | ")} |`;
  return [lines[0], rule, ...lines.slice(1)].join("\n");
}

const peersOf = ({ peers, python }: Row): Readonly<Record<string, Summary>> =>
  peers ?? (python ? { Python: python } : {});

const spreadOf = (spread: Summary | undefined) =>
  spread ? ` [${figures(spread.low)} .. ${figures(spread.high)}]` : "";
