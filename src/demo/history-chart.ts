/** The curves of a training: its metrics by epoch, those chosen in one chart. */
import { Chart } from "./chart.js";
import { byId, el } from "./dom.js";
import type { RunCurves } from "./messages.js";
import { shownNumber } from "./shown.js";

const COLORS = ["--series-1", "--series-2", "--series-3", "--series-4"];

/** Metrics that are shown until someone chooses: errors and losses share an axis, learning rates would be flat lines. */
const FIRST = /mae|loss|error|rmse/i;

export class HistoryChart {
  private readonly chart = new Chart();
  private readonly choice = byId<HTMLSelectElement>("history-run");
  private runs: readonly RunCurves[] = [];
  private readonly hiddenMetrics = new Set<string>();
  private readonly shownMetrics = new Set<string>();

  constructor() {
    byId("history-plot").append(this.chart.element);
    this.choice.addEventListener("change", () => this.draw());
    byId("history-log").addEventListener("change", () => this.draw());
  }

  setRuns(runs: readonly RunCurves[]): void {
    this.runs = runs;
    const before = this.choice.value;
    byId("history").hidden = runs.length === 0;
    this.choice.replaceChildren(...runs.map(({ run }) => el("option", { value: run }, run)));
    if (runs.some(({ run }) => run === before)) this.choice.value = before;
    this.draw();
  }

  private draw(): void {
    const run = this.runs.find((one) => one.run === this.choice.value);
    if (!run) {
      this.chart.clear();
      return;
    }
    const isShown = (name: string) =>
      this.shownMetrics.has(name) || (FIRST.test(name) && !this.hiddenMetrics.has(name));
    const drawn = run.metrics.filter(([name]) => isShown(name));
    byId("history-metrics").replaceChildren(
      ...run.metrics.map(([name, values]) => {
        const at = drawn.findIndex(([other]) => other === name);
        const box = el("input", { type: "checkbox", checked: at >= 0 });
        box.addEventListener("change", () => {
          const [into, outOf] = box.checked
            ? [this.shownMetrics, this.hiddenMetrics]
            : [this.hiddenMetrics, this.shownMetrics];
          into.add(name);
          outOf.delete(name);
          this.draw();
          // The boxes are made anew; focus stays with the one that was pressed.
          byId("history-metrics")
            .querySelector<HTMLInputElement>(`[data-metric="${CSS.escape(name)}"] input`)
            ?.focus();
        });
        const dot = el("span", { class: "dot", "aria-hidden": "true" });
        if (at >= 0) dot.style.background = `var(${COLORS[at % COLORS.length]})`;
        const last = values.findLast((value) => value !== null);
        return el(
          "label",
          { class: "chip", "data-metric": name },
          box,
          dot,
          `${name}: ${shownNumber(last ?? undefined)}`,
        );
      }),
    );
    const label = `${run.run}: ${drawn.map(([name]) => name).join(", ")} over ${run.epochs.length} epochs`;
    this.chart.draw(
      {
        label,
        x: "epoch",
        y: "",
        logY: byId<HTMLInputElement>("history-log").checked,
        series: drawn.map(([name], i) => ({ label: name, color: COLORS[i % COLORS.length], as: "line" })),
      },
      [
        run.epochs,
        ...drawn.map(([, values]) => (byId<HTMLInputElement>("history-log").checked ? values.map(positive) : values)),
      ],
    );
  }
}

/** A logarithmic axis has no place for others. */
const positive = (value: number | null) => (value !== null && value > 0 ? value : null);
