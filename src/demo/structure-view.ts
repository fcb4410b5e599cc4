/** One structure: its cell in 3D, its atoms, its prediction, and the atoms' shares of that. */
import { CrystalCanvas, elementColor, MOST_ATOMS } from "./crystal-canvas.js";
import { button, byId, el } from "./dom.js";
import type { CheckpointCard, PredictRequest, Shares, StructureDetails } from "./messages.js";
import { predictionView, problemView } from "./prediction-view.js";
import { SHARE_GRADIENT, shareColor } from "./share-colors.js";
import { shownValue } from "./shown.js";
import { VirtualTable } from "./virtual-table.js";
import { CallError, type WorkerClient } from "./worker-client.js";

interface AtomRow {
  readonly index: number;
  readonly symbol: string;
  readonly at: readonly number[];
  readonly share: number | undefined;
}

const BY_ELEMENT = "element";

export class StructureView {
  private readonly client: WorkerClient;
  private readonly canvas = new CrystalCanvas(byId("canvas"));
  private readonly colorBy = byId<HTMLSelectElement>("color-by");
  private readonly atoms: VirtualTable<AtomRow>;
  private cards: readonly CheckpointCard[] = [];
  private details: StructureDetails | undefined;
  private request: PredictRequest | undefined;
  /** Of the last thing asked for: an answer that comes late is no longer shown. */
  private turn = 0;
  /** Of the last painting, of which there are several in a turn. */
  private painting = 0;
  private drawn: number | undefined;
  private hasShares = false;
  /** What the user chose to colour by; undefined until then. */
  private chosen: string | undefined;

  constructor(client: WorkerClient) {
    this.client = client;
    this.atoms = new VirtualTable<AtomRow>({
      caption: "Atoms of the unit cell",
      minWidth: "25rem",
      columns: [
        { title: "Atom", width: "3.6rem", text: ({ index }) => String(index + 1), by: ({ index }) => index },
        { title: "Element", width: "4.8rem", text: ({ symbol }) => symbol },
        {
          title: "Share",
          width: "5rem",
          right: true,
          isHidden: () => !this.hasShares,
          text: ({ share }) => shownValue(share),
          by: ({ share }) => share,
        },
        ...(["x", "y", "z"] as const).map((title, k) => ({
          title: `${title} / Å`,
          right: true,
          width: "3.8rem",
          text: ({ at }: AtomRow) => at[k].toFixed(2),
          by: ({ at }: AtomRow) => at[k],
        })),
      ],
    });
    byId("atoms").append(this.atoms.element);
    this.colorBy.addEventListener("change", () => {
      this.chosen = this.colorBy.value;
      this.paintAnew();
    });
    const turns = [
      ["Turn left", "←", () => this.canvas.turn("y", -1)],
      ["Turn right", "→", () => this.canvas.turn("y", 1)],
      ["Turn up", "↑", () => this.canvas.turn("x", -1)],
      ["Turn down", "↓", () => this.canvas.turn("x", 1)],
      ["Nearer", "+", () => this.canvas.zoom(1)],
      ["Farther", "−", () => this.canvas.zoom(-1)],
      ["Reset the view", "Reset", () => this.canvas.reset()],
    ] as const;
    byId("turns").append(
      ...turns.map(([label, sign, run]) => button(sign, run, { "aria-label": label, title: label, class: "small" })),
    );
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.paintAnew());
  }

  setCards(cards: readonly CheckpointCard[]): void {
    this.cards = cards;
  }

  get index(): number | undefined {
    return this.details?.row.index;
  }

  clear(): void {
    this.turn++;
    this.details = undefined;
    byId("structure").hidden = true;
  }

  async show(index: number, request: PredictRequest): Promise<void> {
    const turn = ++this.turn;
    let details: StructureDetails;
    try {
      details = await this.client.call("structure", index);
    } catch (error) {
      // It may have been closed meanwhile.
      if (turn !== this.turn) return;
      throw error;
    }
    if (turn !== this.turn) return;
    this.details = details;
    this.request = request;
    const { row, crystal } = details;
    byId("structure").hidden = false;
    byId("structure-title").textContent = row.formula ? `${row.id} · ${row.formula}` : row.id;
    byId("structure-file").textContent = row.file === row.id ? "" : row.file;
    byId("prediction").replaceChildren(predictionView(details));
    byId("crystal").hidden = crystal === undefined;
    if (!crystal) return;
    this.offerColors(details);
    await this.paint();
  }

  /** Models whose shares there are; why the others have none. */
  private offerColors({ prediction }: StructureDetails): void {
    const used = this.cards.filter(({ used }) => used);
    const having = prediction ? used.filter(({ noShares }) => noShares === undefined) : [];
    const options = having.map(({ id, name }) => el("option", { value: id }, `share of the prediction, ${name}`));
    this.colorBy.replaceChildren(el("option", { value: BY_ELEMENT }, "element"), ...options);
    const values = [...this.colorBy.options].map(({ value }) => value);
    const preferred = this.chosen ?? values[1] ?? BY_ELEMENT;
    this.colorBy.value = values.includes(preferred) ? preferred : BY_ELEMENT;
    const lacking = prediction ? used.filter(({ noShares }) => noShares !== undefined) : [];
    byId("no-shares").replaceChildren(
      ...lacking.map(({ name, noShares }) => el("li", {}, `${name} has no shares of atoms: ${noShares}.`)),
    );
  }

  private paintAnew(): void {
    this.paint().catch((error) => byId("canvas-message").replaceChildren(cannotDraw(error)));
  }

  private async paint(): Promise<void> {
    const { details, turn } = this;
    const painting = ++this.painting;
    const isLate = () => turn !== this.turn || painting !== this.painting;
    const crystal = details?.crystal;
    if (!crystal) return;
    const message = byId("canvas-message");
    message.replaceChildren();
    let shares: Shares | undefined;
    if (this.colorBy.value !== BY_ELEMENT)
      try {
        shares = await this.client.call("shares", details.row.index, Number(this.colorBy.value), this.request!);
      } catch (error) {
        if (isLate()) return;
        if (!(error instanceof CallError)) throw error;
        message.replaceChildren(problemView(error.problem));
      }
    if (isLate()) return;
    const { symbols, positions } = crystal;
    this.hasShares = shares !== undefined;
    this.atoms.setRows(
      symbols.map((symbol, index) => ({
        index,
        symbol,
        at: [...positions.subarray(3 * index, 3 * index + 3)],
        share: shares?.values[index],
      })),
    );
    byId("canvas").setAttribute("aria-label", `Unit cell of ${details.row.formula} with ${symbols.length} atoms`);
    const legend = shares ? legendOfShares(shares) : await legendOfElements(symbols);
    if (isLate()) return;
    byId("legend").replaceChildren(...legend);
    if (symbols.length > MOST_ATOMS && this.drawn !== details.row.index)
      message.append(
        el("p", {}, `The cell has ${symbols.length} atoms; drawing them takes a while.`),
        button("Draw it", () => {
          message.replaceChildren();
          void this.draw(crystal, shares, isLate);
        }),
      );
    else await this.draw(crystal, shares, isLate);
  }

  private async draw(
    crystal: NonNullable<StructureDetails["crystal"]>,
    shares: Shares | undefined,
    isLate: () => boolean,
  ): Promise<void> {
    const index = this.index;
    try {
      const colors = shares ? sharesAsColors(shares) : await Promise.all(crystal.symbols.map(elementColor));
      if (isLate()) return;
      await this.canvas.draw(crystal, colors, this.drawn === index);
      this.drawn = index;
    } catch (error) {
      if (!isLate()) byId("canvas-message").append(cannotDraw(error));
    }
  }
}

function cannotDraw(error: unknown): HTMLElement {
  return el(
    "p",
    { class: "problem" },
    `The cell cannot be drawn: ${error instanceof Error ? error.message : error}. The table has its atoms.`,
  );
}

function legendOfShares({ model, unit, values }: Shares): HTMLElement[] {
  const bar = el("span", { class: "bar" });
  bar.style.background = SHARE_GRADIENT;
  const sum = values.reduce((all, value) => all + value, 0);
  return [
    el("span", {}, shownValue(Math.min(...values))),
    bar,
    el("span", {}, `${shownValue(Math.max(...values))} ${unit ?? ""}`),
    el(
      "span",
      { class: "muted" },
      `Shares of ${model} add up to ${shownValue(sum)}. They show how the network came to its number; nothing measures an atom's share.`,
    ),
  ];
}

function legendOfElements(symbols: readonly string[]): Promise<HTMLElement[]> {
  const chips = [...new Set(symbols)].map(async (symbol) => {
    const dot = el("span", { class: "dot", "aria-hidden": "true" });
    dot.style.background = await elementColor(symbol);
    return el("span", { class: "chip" }, dot, symbol);
  });
  return Promise.all(chips);
}

function sharesAsColors({ values }: Shares): string[] {
  const [least, most] = [Math.min(...values), Math.max(...values)];
  return values.map((value) => shareColor(most > least ? (value - least) / (most - least) : 0.5));
}
