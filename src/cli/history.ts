import type { HistoryRow } from "../runs/history.js";
import { fileSink } from "../stores/fs.js";
import { csvLine } from "./csv.js";
import { curvesOf, suitsLog } from "./curves.js";
import { DIR_HELP, openToRead, READ_HELP } from "./folder.js";
import { parseNames, rankMetrics } from "./metrics.js";
import { FROM_NAMES, type RunHistory, readRunHistories } from "./run-histories.js";
import {
  brief,
  type Column,
  counted,
  escaped,
  labelled,
  lasted,
  lineWidth,
  oneLine,
  plural,
  shownName,
  table,
  toJson,
} from "./shown.js";
import { bestText, svgChart } from "./svg-chart.js";
import { textChart } from "./text-chart.js";
import { parseOptions, UsageError } from "./usage.js";
import { writeOut } from "./write.js";

export const HISTORY_HELP = `Usage: unitcell history [options] [DIR]

Shows how the runs of a folder went: best epoch, last epochs, metadata and, on a terminal, the curves of losses and
metrics. ${DIR_HELP}
${READ_HELP}
Reads training_history.json (one run or several), RUN_metadata.json, ALIGNN's history_val.json and history_train.json,
and the metrics in Lightning's file names.

Options:
      --run RUN        only this run
      --metric NAMES   what to draw, as val_mae,loss (default: the four that say most); the first tells the best epoch
      --last N         rows of the table (default 5; 0: all)
      --chart          draw also where the output is no terminal; then a chart for each metric
      --scale KIND     linear or log (default: log where all is above zero and the largest 100 times the smallest)
      --svg FILE       write the curves as an SVG file too, a panel for each run
      --csv            all rows of all runs as CSV: run, epoch, every metric
      --json           one JSON document (NaN and infinities as strings)
  -h, --help           this text
`;

const LAST_ROWS = 5;
/** Metrics in the table; CSV and JSON have all. */
const MOST_COLUMNS = 7;
const MOST_TITLE = 24;
const CHART_HEIGHT = 14;
/** Characters of a number, which is short. */
const CELL = 10;

interface Shown {
  readonly names: string[] | undefined;
  readonly last: number;
  readonly chart: boolean;
  readonly log: boolean | undefined;
}

export async function historyCommand(args: string[]): Promise<number> {
  const { values, positionals } = parseOptions({
    args,
    allowPositionals: true,
    options: {
      run: { type: "string" },
      metric: { type: "string" },
      last: { type: "string" },
      chart: { type: "boolean" },
      scale: { type: "string" },
      svg: { type: "string" },
      csv: { type: "boolean" },
      json: { type: "boolean" },
      help: { type: "boolean", short: "h" },
    },
  });
  if (values.help) {
    process.stdout.write(HISTORY_HELP);
    return 0;
  }
  if (positionals.length > 1) throw new UsageError("history takes one folder; see unitcell history --help");
  if (values.csv && values.json) throw new UsageError("choose one of --csv and --json; see unitcell history --help");
  const names = parseNames(values.metric);
  const shown: Shown = {
    names,
    last: parseLast(values.last),
    chart: values.chart ?? process.stdout.isTTY ?? false,
    log: parseScale(values.scale),
  };
  const { path, store } = openToRead(positionals[0]);
  const { runs, problems } = await readRunHistories(store, { run: values.run, metric: names?.[0] });
  if (values.json) await writeOut(toJson({ folder: path, runs }));
  else if (values.csv) await writeOut(csv(runs));
  else if (runs.length === 0 && problems.length === 0)
    await writeOut(`${oneLine(path)}: no history${values.run === undefined ? "" : ` of ${shownName(values.run)}`}\n`);
  else for (const [i, run] of runs.entries()) await writeOut(`${i > 0 ? "\n" : ""}${lines(run, shown).join("\n")}\n`);
  if (values.svg !== undefined) await writeSvg(values.svg, runs, shown);
  for (const problem of problems) process.stderr.write(`unitcell: ${oneLine(problem)}\n`);
  return problems.length > 0 ? 1 : 0;
}

function parseLast(text: string | undefined): number {
  if (text === undefined) return LAST_ROWS;
  if (!/^\d{1,9}$/.test(text)) throw new UsageError(`--last takes a number of rows, found "${text}"`);
  return Number(text) || Number.POSITIVE_INFINITY;
}

function parseScale(text: string | undefined): boolean | undefined {
  if (text === undefined) return undefined;
  if (text !== "log" && text !== "linear") throw new UsageError(`--scale is log or linear, found "${text}"`);
  return text === "log";
}

function lines(run: RunHistory, { names, last, chart, log }: Shown): string[] {
  const { rows, metadata } = run;
  const curves = chart && rows.length > 1 ? curvesOf(rows, names) : [];
  return [
    `${shownName(run.run)}: ${summaryText(run)}`,
    ...(metadata ? labelled("  metadata", metadataText(metadata)) : []),
    ...(rows.length > 0 ? ["", ...rowLines(run, names, last)] : []),
    ...(curves.length > 0
      ? [
          "",
          ...textChart(curves, {
            width: process.stdout.isTTY ? lineWidth() : 80,
            height: CHART_HEIGHT,
            log: log ?? suitsLog(curves),
            color: hasColors(),
          }),
        ]
      : []),
  ];
}

function summaryText({ rows, best, epochs, seconds, source }: RunHistory): string {
  const count = rows.length > 0 ? rows.length : epochs;
  const facts = [
    ...(count === undefined ? [] : [plural(count, "epoch")]),
    ...(seconds === undefined || seconds < 0 ? [] : [lasted(seconds)]),
    ...(best ? [escaped(bestText(best))] : []),
  ];
  return [...facts, source === FROM_NAMES ? source : shownName(source)].join(", ");
}

function metadataText(metadata: Readonly<Record<string, unknown>>): string {
  const text = (value: unknown) =>
    typeof value === "string" ? escaped(value, 60) : typeof value === "number" ? brief(value) : undefined;
  const facts = ["model_type", "n_train", "n_val", "n_test", "test_mae", "test_r2", "training_data"].flatMap((key) => {
    const value = text(metadata[key]);
    return value === undefined ? [] : [`${key} ${value}`];
  });
  const more = Object.keys(metadata).length - facts.length;
  return [...facts, ...(more > 0 ? [`${counted(more)} more`] : [])].join(", ");
}

function rowLines({ rows, best }: RunHistory, asked: readonly string[] | undefined, last: number): string[] {
  const all = new Set(rows.flatMap((row) => Object.keys(row)).filter((name) => name !== "epoch"));
  const kept = new Set(fitting([...new Set([...rankMetrics(all), ...all])].slice(0, MOST_COLUMNS)));
  const names = asked ?? [...all].filter((name) => kept.has(name));
  const shown = rows.slice(Number.isFinite(last) ? -last : 0);
  const isBest = (row: HistoryRow) => row.epoch === best?.epoch;
  const bestRow = rows.find(isBest);
  if (bestRow && !shown.some(isBest)) shown.unshift(bestRow);
  const columns: Column[] = [
    { title: "epoch", right: true },
    ...names.map((name) => ({ title: escaped(name, MOST_TITLE), right: true })),
    { title: "" },
  ];
  const cells = shown.map((row) => [
    String(row.epoch),
    ...names.map((name) => brief(row[name])),
    isBest(row) ? `best ${escaped(best!.metric, MOST_TITLE)}` : "",
  ]);
  return table(columns, cells);
}

/** The first of these metrics that share a line with the epoch; one at least. */
function fitting(names: readonly string[]): string[] {
  let room = lineWidth() - CELL;
  return names.filter((name, i) => {
    room -= 2 + Math.max(CELL, escaped(name, MOST_TITLE).length);
    return i === 0 || room >= 0;
  });
}

/** Not where colours were asked to stay away (no-color.org), nor in files. */
function hasColors(): boolean {
  return (process.stdout.isTTY ?? false) && !process.env.NO_COLOR && process.env.TERM !== "dumb";
}

function csv(runs: readonly RunHistory[]): string {
  const names = [...new Set(runs.flatMap(({ rows }) => rows.flatMap((row) => Object.keys(row))))].filter(
    (name) => name !== "epoch",
  );
  const rows = runs.flatMap(({ run, rows }) =>
    rows.map((row) => csvLine([run, row.epoch, ...names.map((name) => row[name])])),
  );
  return csvLine(["run", "epoch", ...names]) + rows.join("");
}

async function writeSvg(file: string, runs: readonly RunHistory[], { names, log }: Shown): Promise<void> {
  const panels = runs.flatMap((run) => {
    const curves = curvesOf(run.rows, names);
    return curves.length === 0 ? [] : [{ title: run.run, curves, best: run.best, ...(log !== undefined && { log }) }];
  });
  if (panels.length === 0) throw new UsageError("there are no rows to draw for --svg");
  const sink = fileSink(file);
  try {
    sink.write(new TextEncoder().encode(svgChart(panels)));
    await sink.close();
  } catch (error) {
    sink.abort();
    throw error;
  }
  process.stderr.write(`${oneLine(file)}: ${plural(panels.length, "panel")}\n`);
}
