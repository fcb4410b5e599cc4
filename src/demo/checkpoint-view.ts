/** The open checkpoints, and of one of them the facts, tensors and tree. */

import { sized } from "../cli/shown.js";
import { button, byId, el } from "./dom.js";
import { HistogramView } from "./histogram.js";
import type { CheckpointCard, CheckpointDetails, TensorRow, TreeLevel } from "./messages.js";
import { VirtualTable } from "./virtual-table.js";
import type { WorkerClient } from "./worker-client.js";

/** Nodes of one value that are shown at first, and that each press for more adds. */
const NODES = 100;

interface IndexedTensor extends TensorRow {
  readonly index: number;
}

export class CheckpointView {
  private readonly client: WorkerClient;
  private readonly onError: (error: unknown) => void;
  private readonly tensors: VirtualTable<IndexedTensor>;
  private readonly histogram = new HistogramView(byId("histogram"));
  private rows: readonly IndexedTensor[] = [];
  private shown: number | undefined;
  private tensor: number | undefined;

  constructor(client: WorkerClient, onError: (error: unknown) => void) {
    this.client = client;
    this.onError = onError;
    this.tensors = new VirtualTable<IndexedTensor>({
      caption: "Tensors of the checkpoint; a name opens the histogram",
      minWidth: "38rem",
      onOpen: (row) => void this.openTensor(row).catch(onError),
      isCurrent: ({ index }) => index === this.tensor,
      columns: [
        { title: "Name", text: ({ name }) => name, by: ({ name }) => name },
        { title: "Type", width: "5.5rem", text: ({ dtype }) => dtype },
        { title: "Shape", width: "6.5rem", text: ({ shape }) => shape, by: ({ shape }) => shape },
        { title: "Size", width: "6rem", right: true, text: ({ bytes }) => sized(bytes), by: ({ bytes }) => bytes },
        {
          title: "Notes",
          width: "9rem",
          text: ({ notes }) => notes,
          isHidden: () => this.rows.every(({ notes }) => notes === ""),
        },
      ],
    });
    byId("tensors").append(this.tensors.element);
    byId("checkpoint-choice").addEventListener("change", (event) => {
      void this.show(Number((event.target as HTMLSelectElement).value)).catch(onError);
    });
  }

  setCards(cards: readonly CheckpointCard[]): void {
    const choice = byId<HTMLSelectElement>("checkpoint-choice");
    choice.replaceChildren(...cards.map(({ id, name }) => el("option", { value: id }, name)));
    byId("checkpoint-empty").hidden = cards.length > 0;
    byId("checkpoint-details").hidden = cards.length === 0;
    const known = cards.find(({ id }) => id === this.shown) ?? cards[0];
    if (!known) {
      this.shown = undefined;
      return;
    }
    choice.value = String(known.id);
    if (known.id !== this.shown) void this.show(known.id).catch(this.onError);
  }

  async show(id: number): Promise<void> {
    this.shown = id;
    const details = await this.client.call("describe", id);
    if (this.shown !== id) return;
    byId<HTMLSelectElement>("checkpoint-choice").value = String(id);
    this.showFacts(details);
    this.tensor = undefined;
    this.histogram.clear();
    this.rows = details.tensors.map((row, index) => ({ ...row, index }));
    this.tensors.setRows(this.rows);
    byId("tensor-count").textContent = `${details.tensors.length.toLocaleString("en")}`;
    byId("tree").replaceChildren(await this.level(id, [], NODES));
  }

  private showFacts({ facts, found, assumed, warnings }: CheckpointDetails): void {
    byId("facts").replaceChildren(
      ...facts.flatMap(([label, text]) => [el("dt", {}, label), el("dd", {}, text)]),
      ...listFact("Settings found", found),
      ...listFact("Settings assumed", assumed),
    );
    byId("checkpoint-warnings").replaceChildren(...warnings.map((text) => el("li", {}, text)));
  }

  private async openTensor({ index, name }: IndexedTensor): Promise<void> {
    const id = this.shown!;
    this.tensor = index;
    this.tensors.refresh();
    const histogram = await this.client.call("histogram", id, index);
    if (this.shown === id && this.tensor === index) this.histogram.show(name, histogram);
  }

  /** The nodes inside a value, each of which opens by a button; lists in lists, so that depth is told. */
  private async level(id: number, path: readonly number[], most: number): Promise<HTMLElement> {
    const level = await this.client.call("tree", id, path, most);
    const list = el("ul", { class: "tree" }, ...level.nodes.map((_, i) => this.node(id, [...path, i], level, i)));
    if (level.total > level.nodes.length) {
      const more = button(`${(level.total - level.nodes.length).toLocaleString("en")} more: show some`, () => {
        this.level(id, path, most + NODES).then((longer) => list.replaceWith(longer), this.onError);
      });
      list.append(el("li", {}, more));
    }
    return list;
  }

  private node(id: number, path: readonly number[], { nodes, opens }: TreeLevel, i: number): HTMLElement {
    const { key = "", kind, text = "" } = nodes[i];
    const words = [el("b", {}, key), " ", el("span", { class: "muted" }, kind), ` ${text}`];
    if (!opens[i]) return el("li", {}, ...words);
    const item = el("li");
    const toggle = button("", () => void this.toggle(id, path, item, toggle).catch(this.onError), {
      class: "node",
      "aria-expanded": "false",
    });
    toggle.append(...words);
    item.append(toggle);
    return item;
  }

  private async toggle(id: number, path: readonly number[], item: HTMLElement, toggle: HTMLElement): Promise<void> {
    const isOpen = toggle.getAttribute("aria-expanded") === "true";
    toggle.setAttribute("aria-expanded", String(!isOpen));
    if (isOpen) item.querySelector("ul")?.remove();
    else item.append(await this.level(id, path, NODES));
  }
}

function listFact(label: string, items: readonly string[]): HTMLElement[] {
  if (items.length === 0) return [];
  return [el("dt", {}, label), el("dd", {}, el("ul", {}, ...items.map((item) => el("li", {}, item))))];
}
