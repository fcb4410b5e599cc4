/** The page: what is open, what is shown, and who does it. Its parts know the worker and the page, not each other. */
import { sized } from "../cli/shown.js";
import { prepareCharts } from "./chart.js";
import { CheckpointView } from "./checkpoint-view.js";
import { preload3dmol } from "./crystal-canvas.js";
import { button, byId, el, saveBlob, whenIdle } from "./dom.js";
import { LibraryView } from "./library-view.js";
import type { CheckpointCard, GivenFile, OpenSummary, PredictRequest, Problem, Told } from "./messages.js";
import { listenForFiles } from "./opening.js";
import { problemView } from "./prediction-view.js";
import { Screening } from "./screening.js";
import { StructureView } from "./structure-view.js";
import { Tabs } from "./tabs.js";
import { CallError, startWorker, type WorkerClient } from "./worker-client.js";

/** Problems that are listed; beyond, only their number. */
const MOST_PROBLEMS = 20;

/** Structures of which the first is opened without being asked for: to draw it takes the page a while. */
const FEW = 50;

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
  private problems = 0;
  /** The end of the last opening, however it ended. */
  private opening: Promise<void> = Promise.resolve();
  /** Of the last prediction asked for; an earlier one's end is then no end. */
  private asked = 0;

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
      byId(id).addEventListener(
        "change",
        () =>
          void client
            .call("forget")
            .then(() => this.restart())
            .catch(onError),
      );
    for (const format of ["csv", "json"] as const)
      byId(`save-${format}`).addEventListener("click", () => {
        client.call("download", format).then((blob) => saveBlob(blob, `predictions.${format}`), onError);
      });
    this.drawModels();
    this.drawControls(false);
  }

  told(told: Told): void {
    switch (told.kind) {
      case "checkpoints":
        this.setCards(told.cards);
        break;
      case "structures":
        this.screening.add(told.rows);
        this.drawControls(false);
        break;
      case "opening":
        if (told.total > 1) this.say(`Reading ${told.done} of ${told.total} files.`);
        break;
      case "references":
        this.screening.addReferences(told.values);
        break;
      case "results":
        this.screening.addResults(told.rows, told.done, told.total);
        break;
      case "problem":
        this.addProblem(told.file, told.problem);
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
    this.opened(await this.client.call("open"));
  }

  private opened({ checkpoints, structures, references, runFiles, ignored }: OpenSummary): void {
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
    this.say(`${parts.length > 0 ? `Opened ${parts.join(", ")}.` : "Nothing was opened."}${rest}`);
    const isNews = checkpoints > 0 || structures > 0;
    if (isNews && this.canPredict()) void this.predict().catch((error) => this.report("", error));
    else if (structures > 0 && this.structure.index === undefined) void this.showFirst();
  }

  private setCards(cards: readonly CheckpointCard[]): void {
    this.cards = cards;
    this.structure.setCards(cards);
    this.checkpoint.setCards(cards);
    const [first] = cards.filter(({ used }) => used);
    this.screening.forget(first?.unit ? `predicted value, ${first.unit}` : "predicted value");
    const states = Math.min(...cards.filter(({ used, states }) => used && states > 0).map(({ states }) => states));
    byId("state-box").hidden = !Number.isFinite(states);
    byId<HTMLInputElement>("state").max = String(states - 1);
    byId("names-box").hidden = !cards.some(({ used, property, unit }) => used && !(property && unit));
    this.drawModels();
    this.drawControls(false);
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
    this.drawControls(true);
    try {
      const summary = await this.client.call("predict", this.request);
      if (asked === this.asked) this.screening.finish(summary);
    } catch (error) {
      this.report("", error);
    } finally {
      if (asked === this.asked) this.drawControls(false);
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
    await this.client.call("use", id, used);
    await this.restart();
  }

  private async restart(): Promise<void> {
    if (this.canPredict()) await this.predict();
    else await this.showFirst();
  }

  private async clear(): Promise<void> {
    await this.client.call("clearStructures");
    this.screening.clear();
    this.structure.clear();
    this.drawControls(false);
    this.say("No structures are open.");
  }

  private drawControls(isRunning: boolean): void {
    const hasStructures = this.screening.entries.length > 0;
    byId("predict-empty").hidden = hasStructures;
    byId("screening").hidden = !hasStructures;
    byId<HTMLButtonElement>("predict").hidden = isRunning;
    byId<HTMLButtonElement>("predict").disabled = !this.canPredict();
    byId("cancel").hidden = !isRunning;
    byId("no-model").hidden = this.cards.some(({ used }) => used);
  }

  private drawModels(): void {
    byId("models-box").hidden = this.cards.length === 0;
    byId("models").replaceChildren(...this.cards.map((card) => this.modelItem(card)));
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
    problem,
  }: CheckpointCard): HTMLElement {
    const onError = (error: unknown) => this.report(name, error);
    const box = el("input", { type: "checkbox", checked: used, disabled: problem !== undefined });
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
      { class: "small", "aria-label": `Look inside ${name}` },
    );
    const keep = button(
      "Keep",
      () => {
        this.client.call("keep", id).then((keys) => this.say(`Kept in this browser: ${keys.join(", ")}.`), onError);
      },
      { class: "small", "aria-label": `Keep ${name} in this browser` },
    );
    const close = button(
      "Close",
      () => {
        this.client
          .call("close", id)
          .then(() => this.restart())
          .catch(onError);
      },
      { class: "small", "aria-label": `Close ${name}` },
    );
    return el(
      "li",
      {},
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
      problem ? problemView(problem) : undefined,
    );
  }

  private addProblem(file: string, { code, message }: Problem): void {
    const list = byId("problems");
    if (++this.problems > MOST_PROBLEMS) {
      byId("more-problems").textContent = `${this.problems - MOST_PROBLEMS} more`;
      return;
    }
    const item = el(
      "li",
      { class: "problem" },
      file ? el("b", {}, file) : undefined,
      " ",
      el("code", {}, code),
      ` ${message} `,
    );
    item.append(
      button(
        "Dismiss",
        () => {
          item.remove();
          this.problems--;
        },
        { class: "small", "aria-label": `Dismiss the error of ${file || "the page"}` },
      ),
    );
    list.append(item);
  }

  private report(what: string, error: unknown): void {
    this.addProblem(what, error instanceof CallError ? error.problem : { code: "UNEXPECTED", message: String(error) });
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
