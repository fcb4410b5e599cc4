/** How a tensor's numbers are distributed: bars, and its statistics in words. */
import { Chart } from "./chart.js";
import { button, el } from "./dom.js";
import type { Histogram } from "./messages.js";
import { shownNumber } from "./shown.js";

export class HistogramView {
  private readonly element: HTMLElement;
  private readonly chart = new Chart();
  private log = false;

  constructor(element: HTMLElement) {
    this.element = element;
  }

  clear(): void {
    this.chart.clear();
    this.element.replaceChildren(el("p", { class: "muted" }, "Choose a tensor for its histogram."));
  }

  show(name: string, { stats, edges, counts }: Histogram): void {
    const { count, min, max, mean, nan, positiveInfinity, negativeInfinity, zeros } = stats;
    const special = [
      zeros > 0 ? `${zeros} zeros` : "",
      nan > 0 ? `${nan} NaN` : "",
      positiveInfinity + negativeInfinity > 0 ? `${positiveInfinity + negativeInfinity} infinite` : "",
    ].filter(Boolean);
    const words = `${count.toLocaleString("en")} numbers from ${shownNumber(min)} to ${shownNumber(max)}, mean ${shownNumber(mean)}${special.length > 0 ? `; ${special.join(", ")}` : ""}`;
    const scale = button(
      this.log ? "Counts as they are" : "Counts on a logarithmic scale",
      () => {
        this.log = !this.log;
        this.show(name, { stats, edges, counts });
        this.element.querySelector("button")?.focus();
      },
      { class: "small" },
    );
    this.element.replaceChildren(el("h3", {}, name), el("p", {}, words), this.chart.element, scale);
    // A logarithm has no place for empty bins.
    const bars = counts.map((bar) => (this.log && bar === 0 ? null : bar));
    this.chart.draw(
      {
        label: `Histogram of ${name}: ${words}`,
        x: "value",
        y: "count",
        series: [{ label: "count", color: "--series-1", as: "bars" }],
        logY: this.log,
        height: 220,
      },
      [counts.map((_, i) => (edges[i] + edges[i + 1]) / 2), bars],
    );
  }
}
