/** What is used of packages that bring no types. Both are bundled into the command. */

declare module "asciichart" {
  interface PlotConfig {
    readonly min: number;
    readonly max: number;
    /** Rows, but for rounding. */
    readonly height: number;
    /** Columns in front of the curve, the axis included. */
    readonly offset: number;
    readonly format: (value: number, row: number) => string;
  }
  const asciichart: { plot(series: readonly number[], config: PlotConfig): string };
  export default asciichart;
}

declare module "d3-scale" {
  interface Scale {
    (value: number): number;
    domain(ends: readonly [number, number]): this;
    range(ends: readonly [number, number]): this;
    nice(): this;
    ticks(count: number): number[];
    tickFormat(count: number, specifier: string): (value: number) => string;
  }
  export function scaleLinear(): Scale;
  export function scaleLog(): Scale;
}
