/** What is kept in the browser: list, sizes, pins, a plan for pruning, the trash, and the runs' curves. */
import { dated, sized } from "../cli/shown.js";
import type { CheckpointInfo } from "../runs/checkpoint-info.js";
import { button, byId, el } from "./dom.js";
import { HistoryChart } from "./history-chart.js";
import type { Library, OpenSummary, PlanView, Policy } from "./messages.js";
import { shownNumber } from "./shown.js";
import type { WorkerClient } from "./worker-client.js";

/** Rows that are put into the page at once; more wait for a button. */
const MOST_ROWS = 200;

export interface LibraryHooks {
  readonly onError: (error: unknown) => void;
  readonly onOpened: (summary: OpenSummary) => void;
  readonly say: (text: string) => void;
}

export class LibraryView {
  private readonly client: WorkerClient;
  private readonly hooks: LibraryHooks;
  private readonly history = new HistoryChart();
  private most = MOST_ROWS;

  constructor(client: WorkerClient, hooks: LibraryHooks) {
    this.client = client;
    this.hooks = hooks;
    byId("plan-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.run(() => this.showPlan());
    });
    byId("undo").addEventListener("click", () =>
      this.run(async () => this.told(`Brought back ${files(await client.call("undo"))}.`)),
    );
    byId("empty-trash").addEventListener("click", () => this.askToEmpty());
    byId("persist").addEventListener("click", () =>
      this.run(async () => {
        const granted = await navigator.storage.persist();
        this.told(
          granted
            ? "The browser keeps these files."
            : "The browser did not agree; it may clear them when space is short.",
        );
      }),
    );
  }

  async refresh(): Promise<void> {
    this.draw(await this.client.call("library"));
  }

  /** Work that changes the store, after which it is listed anew. */
  private run(work: () => Promise<unknown>): void {
    work()
      .then(() => this.refresh())
      .catch(this.hooks.onError);
  }

  private told(text: string): void {
    byId("plan").replaceChildren();
    this.hooks.say(text);
  }

  private draw(library: Library): void {
    const { checkpoints, report, trash, histories, unread, persisted } = library;
    byId("library-empty").hidden = checkpoints.length > 0;
    byId("library-contents").hidden = checkpoints.length === 0 && trash.length === 0;
    byId("kept").replaceChildren(this.table(checkpoints));
    byId("usage").replaceChildren(...usage(report));
    byId("persist").hidden = persisted;
    byId("persisted").textContent = persisted
      ? "The browser has promised to keep these files."
      : "The browser may clear these files when space is short.";
    const removed = trash.reduce((sum, batch) => sum + batch.files.length, 0);
    byId("trash").hidden = removed === 0;
    byId("trash-text").textContent = `${files(removed)} in the trash, ${sized(report.trash.bytes)}.`;
    byId("unread").replaceChildren(...unread.map((text) => el("li", {}, text)));
    this.history.setRuns(histories);
  }

  private table(checkpoints: readonly CheckpointInfo[]): HTMLElement {
    const rows = checkpoints.slice(0, this.most).map((info) => this.row(info));
    const table = el(
      "table",
      { class: "plain wide" },
      el("caption", { class: "hidden" }, "Checkpoints kept in this browser"),
      el(
        "thead",
        {},
        el(
          "tr",
          {},
          ...["File", "Size", "Modified", "Tag", "Epoch", "Metrics", "Actions"].map((text) =>
            el("th", { scope: "col" }, text),
          ),
        ),
      ),
      el("tbody", {}, ...rows),
    );
    const box = el(
      "div",
      { class: "sideways", tabindex: 0, role: "region", "aria-label": "Checkpoints kept in this browser" },
      table,
    );
    if (checkpoints.length > this.most)
      box.append(
        button(`${checkpoints.length - this.most} more: show some`, () => {
          this.most += MOST_ROWS;
          this.run(async () => {});
        }),
      );
    return box;
  }

  private row(info: CheckpointInfo): HTMLElement {
    const { key, size, modified, tag, epoch, metrics = {}, pinned } = info;
    const metric = Object.entries(metrics).find(([name]) => /val/.test(name)) ?? Object.entries(metrics)[0];
    const pin = button(pinned ? "Unpin" : "Pin", () => this.pin(key, !pinned), {
      class: "small",
      "aria-label": `${pinned ? "Unpin" : "Pin"} ${key}`,
      "data-pin": key,
    });
    const open = button(
      "Open",
      () => {
        this.client.call("openKept", key).then(this.hooks.onOpened, this.hooks.onError);
      },
      { class: "small", "aria-label": `Open ${key}` },
    );
    return el(
      "tr",
      {},
      el("th", { scope: "row" }, key, pinned ? el("span", { class: "badge" }, "pinned") : undefined),
      el("td", { class: "right" }, sized(size)),
      el("td", {}, dated(modified)),
      el("td", {}, tag),
      el("td", { class: "right" }, epoch === undefined ? "" : String(epoch)),
      el("td", {}, metric ? `${metric[0]} ${shownNumber(metric[1])}` : ""),
      el("td", {}, el("div", { class: "actions" }, open, pin)),
    );
  }

  private pin(key: string, pinned: boolean): void {
    this.client
      .call("pin", key, pinned)
      .then(() => this.refresh())
      .then(() => document.querySelector<HTMLElement>(`[data-pin="${CSS.escape(key)}"]`)?.focus())
      .catch(this.hooks.onError);
  }

  /** Shows what would go; only the button in it removes anything. */
  private async showPlan(): Promise<void> {
    const plan = await this.client.call("plan", readPolicy());
    byId("plan").replaceChildren(...this.planView(plan));
    byId("plan").querySelector<HTMLElement>("h3")?.focus();
  }

  private planView({ keep, remove, bytesFreed }: PlanView): HTMLElement[] {
    const title = el(
      "h3",
      { tabindex: -1 },
      remove.length === 0 ? "Nothing would be removed" : `${files(remove.length)} would go, ${sized(bytesFreed)}`,
    );
    const list = (caption: string, items: readonly string[]) =>
      el(
        "details",
        { open: items.length <= 12 },
        el("summary", {}, caption),
        el("ul", {}, ...items.slice(0, 500).map((text) => el("li", {}, text))),
      );
    const views = [
      title,
      list(
        `Goes (${remove.length})`,
        remove.map(({ key, size }) => `${key}, ${sized(size)}`),
      ),
      list(
        `Stays (${keep.length})`,
        keep.map(({ key, because }) => `${key}: ${because}`),
      ),
    ];
    if (remove.length === 0) return views;
    const confirm = button(
      `Move ${files(remove.length)} to the trash`,
      () =>
        this.run(async () =>
          this.told(`Moved ${files(await this.client.call("prune"))} to the trash; Undo brings them back.`),
        ),
      { class: "primary", id: "prune" },
    );
    const cancel = button("Leave everything", () => this.told("Nothing was removed."));
    return [...views, el("p", { class: "buttons" }, confirm, cancel)];
  }

  private askToEmpty(): void {
    const confirm = button("Delete for good", () =>
      this.run(async () => this.told(`Deleted ${files(await this.client.call("emptyTrash"))}.`)),
    );
    const cancel = button("Keep the trash", () => this.told("The trash is as it was."));
    byId("plan").replaceChildren(
      el("h3", { tabindex: -1 }, "Delete what is in the trash? It cannot be brought back."),
      el("p", { class: "buttons" }, confirm, cancel),
    );
    byId("plan").querySelector<HTMLElement>("h3")?.focus();
  }
}

const files = (count: number) => `${count} ${count === 1 ? "file" : "files"}`;

function readPolicy(): Policy {
  const number = (id: string) => {
    const { value } = byId<HTMLInputElement>(id);
    return value === "" ? undefined : Number(value);
  };
  const count = number("keep-best");
  const metric = byId<HTMLInputElement>("keep-metric").value.trim();
  const mode = byId<HTMLSelectElement>("keep-mode").value as "min" | "max";
  return {
    latest: number("keep-latest"),
    every: number("keep-every"),
    best: count === undefined ? undefined : { count, metric, mode },
  };
}

function usage({ checkpoints, byRun, others, duplicates = [] }: Library["report"]): HTMLElement[] {
  const wasted = duplicates.reduce((sum, { wastedBytes }) => sum + wastedBytes, 0);
  const line = (label: string, text: string) => [el("dt", {}, label), el("dd", {}, text)];
  return [
    ...line("Checkpoints", `${files(checkpoints.files)}, ${sized(checkpoints.bytes)}`),
    ...byRun
      .slice(0, 50)
      .flatMap(({ run, files: count, bytes, growth }) =>
        line(run, `${files(count)}, ${sized(bytes)}${growth ? `; ${sized(growth.bytesPerFile)} each epoch kept` : ""}`),
      ),
    ...line("Beside them", `${files(others.files)}, ${sized(others.bytes)}`),
    ...(wasted > 0 ? line("Twice", `${sized(wasted)} in files of equal contents`) : []),
  ];
}
