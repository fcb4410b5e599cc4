/** All structures with their predictions: a table that sorts, a plot, progress. */
import { binned } from "./bins.js";
import { Chart } from "./chart.js";
import { byId, oncePerFrame, oncePerIdle } from "./dom.js";
import type { PredictSummary, ResultRow, StructureRow } from "./messages.js";
import { finishedText, shownValue } from "./shown.js";
import { VirtualTable } from "./virtual-table.js";

interface Entry {
  readonly row: StructureRow;
  result: ResultRow | undefined;
}

/** ms between drawings of the plot and words for screen readers, while records come in. */
const PLOT_EVERY = 1000;
const SAY_EVERY = 3000;

export class Screening {
  readonly entries: Entry[] = [];
  private readonly table: VirtualTable<Entry>;
  private readonly chart = new Chart();
  private readonly references = new Map<string, number>();
  private readonly drawProgress: () => void;
  /** Apart from the frame in which the table is drawn: together they would take too long. */
  private readonly askPlot = oncePerIdle(() => this.plot());
  private progress = { done: 0, total: 0 };
  private plotted = 0;
  private said = 0;
  private unit = "";
  private current: number | undefined;

  constructor(onOpen: (index: number) => void) {
    const reference = ({ row }: Entry) => this.referenceOf(row);
    this.table = new VirtualTable<Entry>({
      caption: "Structures and their predictions; an id opens the structure",
      minWidth: "43rem",
      onOpen: ({ row }) => onOpen(row.index),
      isCurrent: ({ row }) => row.index === this.current,
      tone: (entry) => (problemOf(entry) ? "failed" : ""),
      columns: [
        { title: "Structure", text: ({ row }) => row.id },
        { title: "Formula", width: "6rem", text: ({ row }) => row.formula ?? "" },
        {
          title: "Sites",
          width: "4rem",
          right: true,
          text: ({ row }) => String(row.sites ?? ""),
          by: ({ row }) => row.sites,
        },
        {
          title: "Value",
          width: "6rem",
          right: true,
          text: (entry) => shownValue(entry.result?.value),
          by: (entry) => entry.result?.value,
        },
        {
          title: "± std",
          isHidden: () => !this.entries.some(({ result }) => result?.std !== undefined),
          width: "5.5rem",
          right: true,
          text: (entry) => shownValue(entry.result?.std),
          by: (entry) => entry.result?.std,
        },
        {
          title: "Known",
          isHidden: () => this.references.size === 0,
          width: "6rem",
          right: true,
          text: (entry) => shownValue(reference(entry)),
          by: reference,
        },
        { title: "Remarks", width: "8rem", text: remarkOf },
      ],
    });
    byId("results").append(this.table.element);
    byId("plot").append(this.chart.element);
    this.drawProgress = oncePerFrame(() => {
      const { done, total } = this.progress;
      const bar = byId<HTMLProgressElement>("progress");
      bar.max = Math.max(total, 1);
      bar.value = done;
      byId("progress-text").textContent = total > 0 ? `${done} of ${total}` : "";
    });
  }

  setCurrent(index: number | undefined): void {
    this.current = index;
    this.table.refresh();
  }

  add(rows: readonly StructureRow[]): void {
    for (const row of rows) this.entries[row.index] = { row, result: undefined };
    this.table.setRows(this.entries);
  }

  clear(): void {
    this.entries.length = 0;
    // Those of other structures may have the same ids.
    this.references.clear();
    this.progress = { done: 0, total: 0 };
    this.table.setRows(this.entries);
    this.drawProgress();
    this.askPlot();
  }

  /** Records of other models, or asked for otherwise, are no longer true. @param unit of those to come, where it is known */
  forget(unit: string | undefined): void {
    this.unit = unit ?? "";
    for (const entry of this.entries) entry.result = undefined;
    this.progress = { done: 0, total: this.entries.length };
    this.drawProgress();
    this.table.refresh();
    this.askPlot();
  }

  addReferences(values: readonly (readonly [string, number])[]): void {
    for (const [id, value] of values) this.references.set(id, value);
    this.table.refresh();
    this.askPlot();
  }

  /** Cheap, since it is called while the worker computes: what is drawn is drawn once a frame, the plot once a second. */
  addResults(rows: readonly ResultRow[], done: number, total: number): void {
    for (const row of rows) {
      const entry = this.entries[row.index];
      if (entry) entry.result = row;
    }
    this.progress = { done, total };
    this.drawProgress();
    if (rows.length > 0) this.table.refresh();
    const now = performance.now();
    if (now - this.plotted > PLOT_EVERY) {
      this.plotted = now;
      this.askPlot();
    }
    if (now - this.said > SAY_EVERY && done < total) {
      this.said = now;
      this.say(`Predicted ${done} of ${total} structures.`);
    }
  }

  finish(summary: PredictSummary): void {
    this.askPlot();
    this.say(finishedText(summary));
  }

  say(text: string): void {
    byId("status").textContent = text;
  }

  private referenceOf({ id }: StructureRow): number | undefined {
    return this.references.get(id);
  }

  private get axis(): string {
    return this.unit ? `predicted value, ${this.unit}` : "predicted value";
  }

  /** Known against predicted where known values were given, else how the predictions are distributed. */
  private plot(): void {
    const pairs: [known: number, value: number][] = [];
    const values: number[] = [];
    for (const { row, result } of this.entries) {
      if (result?.value === undefined) continue;
      values.push(result.value);
      const known = this.referenceOf(row);
      if (known !== undefined) pairs.push([known, result.value]);
    }
    byId("plot-box").hidden = values.length < 2;
    byId("plot").classList.toggle("square", pairs.length >= 2);
    if (pairs.length >= 2) this.plotParity(pairs);
    else if (values.length >= 2) this.plotDistribution(values);
    else this.chart.clear();
  }

  private plotParity(pairs: [number, number][]): void {
    pairs.sort(([a], [b]) => a - b);
    const all = pairs.flat();
    const [least, most] = [all.reduce((a, b) => Math.min(a, b)), all.reduce((a, b) => Math.max(a, b))];
    const margin = (most - least) * 0.05 || 1;
    const error = pairs.reduce((sum, [known, value]) => sum + Math.abs(value - known), 0) / pairs.length;
    const unit = this.unit ? ` ${this.unit}` : "";
    const title = `Predicted against known: ${pairs.length} structures, mean absolute error ${shownValue(error)}${unit}`;
    byId("plot-title").textContent = title;
    const known = pairs.map(([x]) => x);
    // The line of equals needs only its ends, which are no structures' places.
    const x = [least - margin, ...known, most + margin];
    this.chart.draw(
      {
        label: title,
        x: "known",
        y: this.axis,
        square: [least - margin, most + margin],
        height: 400,
        series: [
          { label: "equal", color: "--muted", as: "line" },
          { label: "predicted", color: "--series-1", as: "points" },
        ],
      },
      [x, [x[0], ...known.map(() => null), x[x.length - 1]], [null, ...pairs.map(([, y]) => y), null]],
    );
  }

  private plotDistribution(values: readonly number[]): void {
    const { centers, counts } = binned(values);
    const title = `Distribution of ${values.length} predictions${this.unit ? ` in ${this.unit}` : ""}`;
    byId("plot-title").textContent = title;
    const series = [{ label: "structures", color: "--series-1", as: "bars" } as const];
    this.chart.draw({ label: title, x: this.axis, y: "structures", height: 260, series }, [centers, counts]);
  }
}

const problemOf = ({ row, result }: Entry) => row.problem ?? result?.problem;

function remarkOf(entry: Entry): string {
  const problem = problemOf(entry);
  if (problem) return `${problem.code}: ${problem.message}`;
  const count = entry.result?.warnings ?? 0;
  return count === 0 ? "" : count === 1 ? "1 warning" : `${count} warnings`;
}
