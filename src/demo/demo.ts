/** The page: what is open, what is shown, and who does it. Its parts know the worker and the page, not each other. */
import { sized } from "../cli/shown.js";
import { prepareCharts } from "./chart.js";
import { CheckpointView } from "./checkpoint-view.js";
import { preload3dmol } from "./crystal-canvas.js";
import { button, byId, el, leastApart, replaceItems, saveBlob, whenIdle } from "./dom.js";
import { keepPage } from "./keep-page.js";
import { LibraryView } from "./library-view.js";
import type { CheckpointCard, GivenFile, OpenSummary, PredictRequest, Told } from "./messages.js";
import { listenForFiles } from "./opening.js";
import { problemView } from "./prediction-view.js";
import { ProblemList } from "./problem-list.js";
import { Screening } from "./screening.js";
import { StructureView } from "./structure-view.js";
import { Tabs } from "./tabs.js";
import { CallError, startWorker, type WorkerClient } from "./worker-client.js";

/** Structures of which the first is opened without being asked for: to draw it takes the page a while. */
const FEW = 50;

/** ms between words for screen readers, while files are read. */
const SAY_EVERY = 3000;

/** Files in one message: to copy the handle of a file takes up to half a millisecond. */
const FILES_AT_ONCE = 8;

class Page {
  private readonly client: WorkerClient;
  private readonly screening: Screening;
  private readonly structure: StructureView;
  private readonly checkpoint: CheckpointView;
  private readonly library: LibraryView;
  private readonly tabs: Tabs;
  private cards: readonly CheckpointCard[] = [];
  private readonly problems = new ProblemList();
  private read = { done: 0, total: 0 };
  private readonly sayRead = leastApart(SAY_EVERY, () => {
    const { done, total } = this.read;
    if (done < total) this.say(`Reading ${done} of ${total} files.`);
  });
  /** The end of the last opening, however it ended. */
  private opening: Promise<void> = Promise.resolve();
  /** Of the last prediction asked for; an earlier one's end is then no end. */
  private asked = 0;
  private isRunning = false;

  constructor(client: WorkerClient) {
    this.client = client;
    const onError = (error: unknown) => this.report("", error);
    this.screening = new Screening((index) => void this.showStructure(index).catch(onError));
    this.structure = new StructureView(client);
    this.checkpoint = new CheckpointView(client, onError);
    this.library = new LibraryView(client, {
      onError,
      onOpened: (summary) => this.opened(summary),
      say: (text) => this.say(text),
    });
    this.tabs = new Tabs(byId("tabs"), (panel) => {
      if (panel === "library") this.library.refresh().catch(onError);
    });
    listenForFiles(
      (files) => void this.open(files).catch(onError),
      (what, error) => this.report(what, error),
    );
    byId("predict").addEventListener("click", () => void this.predict().catch(onError));
    byId("cancel").addEventListener("click", () => void client.call("cancel").catch(onError));
    byId("clear").addEventListener("click", () => void this.clear().catch(onError));
    for (const id of ["state", "property", "unit"])
      byId(id).addEventListener("change", () => {
        const forgotten = client.call("forget").then(() => this.forgetResults());
        void this.restartAfter(forgotten).catch(onError);
      });
    for (const format of ["csv", "json"] as const)
      byId(`save-${format}`).addEventListener("click", () => {
        client.call("download", format).then((blob) => saveBlob(blob, `predictions.${format}`), onError);
      });
    this.drawModels();
    this.drawControls();
  }

  told(told: Told): void {
    switch (told.kind) {
      case "checkpoints":
        this.setCards(told.cards);
        break;
      case "structures":
        this.screening.add(told.rows);
        this.drawControls();
        break;
      case "closed":
        this.screening.clear();
        this.structure.clear();
        this.setRunning(false);
        break;
      case "opening":
        this.read = told;
        this.sayRead();
        break;
      case "references":
        this.screening.addReferences(told.values);
        break;
      case "results":
        this.screening.addResults(told.rows, told.done, told.total);
        break;
      case "problem":
        this.problems.add(told.file, told.problem);
    }
  }

  /** One drop after the other: files of two would else be taken for one. */
  private open(files: readonly GivenFile[]): Promise<void> {
    const opened = this.opening.then(() => this.openNow(files));
    this.opening = opened.catch(() => undefined);
    return opened;
  }

  private async openNow(files: readonly GivenFile[]): Promise<void> {
    if (files.length === 0) return;
    this.say(files.length === 1 ? `Opening ${files[0].path}.` : `Opening ${files.length} files.`);
    for (let at = 0; at < files.length; at += FILES_AT_ONCE)
      await this.client.call("give", files.slice(at, at + FILES_AT_ONCE));
    try {
      this.opened(await this.client.call("open"));
    } finally {
      this.read = { done: 0, total: 0 };
    }
  }

  private opened({ checkpoints, structures, references, runFiles, ignored, closed }: OpenSummary): void {
    this.read = { done: 0, total: 0 };
    const parts = [
      count(checkpoints, "checkpoint"),
      count(structures, "structure"),
      count(references, "known value"),
      count(runFiles, "description of runs", "descriptions of runs"),
    ].filter(Boolean);
    const rest =
      ignored.length > 0
        ? ` Left alone: ${ignored.slice(0, 5).join(", ")}${ignored.length > 5 ? " and others" : ""}.`
        : "";
    const none = closed ? "No structures are open." : "Nothing was opened.";
    this.say(`${parts.length > 0 ? `Opened ${parts.join(", ")}.` : none}${rest}`);
    const isNews = checkpoints > 0 || structures > 0;
    if (isNews && this.canPredict()) void this.predict().catch((error) => this.report("", error));
    else if (structures > 0 && this.structure.index === undefined) void this.showFirst();
  }

  private setCards(cards: readonly CheckpointCard[]): void {
    this.cards = cards;
    this.structure.setCards(cards);
    this.checkpoint.setCards(cards);
    this.forgetResults();
    const states = Math.min(...cards.filter(({ used, states }) => used && states > 0).map(({ states }) => states));
    byId("state-box").hidden = !Number.isFinite(states);
    byId<HTMLInputElement>("state").max = String(states - 1);
    byId("names-box").hidden = !cards.some(({ used, property, unit }) => used && !(property && unit));
    this.drawModels();
    this.drawControls();
  }

  /** What is predicted from here on may be of another unit, too. */
  private forgetResults(): void {
    const first = this.cards.find(({ used }) => used);
    this.screening.forget(first?.unit ?? this.request.unit);
  }

  private canPredict(): boolean {
    return this.cards.some(({ used }) => used) && this.screening.entries.length > 0;
  }

  private get request(): PredictRequest {
    const text = (id: string) => byId<HTMLInputElement>(id).value.trim() || undefined;
    return {
      state: byId("state-box").hidden ? undefined : byId<HTMLInputElement>("state").valueAsNumber,
      property: text("property"),
      unit: text("unit"),
    };
  }

  private async predict(): Promise<void> {
    const asked = ++this.asked;
    this.setRunning(true);
    try {
      const summary = await this.client.call("predict", this.request);
      if (asked === this.asked) this.screening.finish(summary);
    } catch (error) {
      if (asked === this.asked) this.report("", error);
    } finally {
      if (asked === this.asked) this.setRunning(false);
    }
    if (asked === this.asked) await this.showFirst();
  }

  /** The one that is shown, with what is known now; else the first of few: of many, the table is what was asked for. */
  private async showFirst(): Promise<void> {
    const { length } = this.screening.entries;
    const index = this.structure.index ?? (length > 0 && length <= FEW ? 0 : undefined);
    if (index !== undefined) await this.showStructure(index);
  }

  private async showStructure(index: number): Promise<void> {
    this.screening.setCurrent(index);
    await this.structure.show(index, this.request);
  }

  private async use(id: number, used: boolean): Promise<void> {
    await this.restartAfter(this.client.call("use", id, used));
  }

  /** After what makes predictions others. It ends the one that runs, whose end is then no news. */
  private async restartAfter(change: Promise<void>): Promise<void> {
    const asked = ++this.asked;
    try {
      await change;
    } catch (error) {
      if (asked === this.asked) this.setRunning(false);
      throw error;
    }
    if (asked !== this.asked) return;
    if (this.canPredict()) return this.predict();
    this.setRunning(false);
    await this.showFirst();
  }

  private async clear(): Promise<void> {
    // What runs ends by it, and has no structure left to be shown.
    this.asked++;
    await this.client.call("clearStructures");
    this.say("No structures are open.");
  }

  private setRunning(isRunning: boolean): void {
    this.isRunning = isRunning;
    this.drawControls();
  }

  private drawControls(): void {
    const { isRunning } = this;
    const { activeElement } = document;
    const hasStructures = this.screening.entries.length > 0;
    byId("predict-empty").hidden = hasStructures;
    byId("screening").hidden = !hasStructures;
    byId<HTMLButtonElement>("predict").hidden = isRunning;
    byId<HTMLButtonElement>("predict").disabled = !this.canPredict();
    byId("cancel").hidden = !isRunning;
    byId("no-model").hidden = this.cards.some(({ used }) => used);
    this.moveFocus(activeElement);
  }

  /** A control that is hidden under the focus would leave it at the page's start. */
  private moveFocus(from: Element | null): void {
    if (!from || !byId("screening").contains(from) || !from.closest("[hidden]")) return;
    const controls = ["predict", "cancel", "pick-files-button"].map((id) => byId<HTMLButtonElement>(id));
    controls.find((control) => !control.disabled && !control.closest("[hidden]"))?.focus();
  }

  private drawModels(): void {
    byId("models-box").hidden = this.cards.length === 0;
    const items = this.cards.map((card) => this.modelItem(card));
    replaceItems(byId("models"), items, byId("pick-files-button"));
  }

  private modelItem({
    id,
    name,
    architecture,
    parameters,
    bytes,
    property,
    unit,
    used,
    note,
    problem,
  }: CheckpointCard): HTMLElement {
    const onError = (error: unknown) => this.report(name, error);
    const as = (what: string) => ({ "data-focus": what });
    const box = el("input", { type: "checkbox", checked: used, disabled: problem !== undefined, ...as("use") });
    box.addEventListener("change", () => void this.use(id, box.checked).catch(onError));
    const what = architecture
      ? `${architecture}: ${property ?? "property not named"}${unit ? ` in ${unit}` : ""}; `
      : "";
    const look = button(
      "Look inside",
      () => {
        this.tabs.show("checkpoints");
        this.checkpoint.show(id).catch(onError);
        byId("tab-checkpoints").focus();
      },
      { class: "small", "aria-label": `Look inside ${name}`, ...as("look") },
    );
    const keep = button(
      "Keep",
      () => {
        this.client.call("keep", id).then((keys) => this.say(`Kept in this browser: ${keys.join(", ")}.`), onError);
      },
      { class: "small", "aria-label": `Keep ${name} in this browser`, ...as("keep") },
    );
    const close = button("Close", () => void this.restartAfter(this.client.call("close", id)).catch(onError), {
      class: "small",
      "aria-label": `Close ${name}`,
      ...as("close"),
    });
    return el(
      "li",
      { "data-item": id },
      el(
        "label",
        {},
        box,
        el(
          "span",
          {},
          el("b", {}, name),
          el("span", { class: "muted" }, `${what}${parameters.toLocaleString("en")} parameters, ${sized(bytes)}`),
        ),
      ),
      el("span", { class: "actions" }, look, keep, close),
      note ? el("p", { class: "note muted" }, `${used ? "" : "Not used: "}${note}.`) : undefined,
      problem ? problemView(problem) : undefined,
    );
  }

  private report(what: string, error: unknown): void {
    this.problems.add(
      what,
      error instanceof CallError ? error.problem : { code: "UNEXPECTED", message: String(error) },
    );
  }

  private say(text: string): void {
    this.screening.say(text);
  }
}

function count(number: number, one: string, many = `${one}s`): string {
  return number === 0 ? "" : `${number} ${number === 1 ? one : many}`;
}

// The worker tells nothing before it is asked, and the page asks nothing before it is there.
let page: Page | undefined;
const client = await startWorker(
  (told) => page!.told(told),
  (message) => {
    byId("status").textContent = `The worker of this page failed (${message}). Reload the page to go on.`;
  },
);
page = new Page(client);
document.documentElement.dataset.ready = "true";
whenIdle(prepareCharts);
preload3dmol((error) => {
  byId("canvas-message").textContent = `3Dmol could not be loaded: ${String(error)}`;
});
whenIdle(() => void keepPage().then((text) => byId("kept-page").append(text)));
