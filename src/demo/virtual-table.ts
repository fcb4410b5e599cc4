/**
 * A table of any number of rows of which only those in sight are in the page; columns sort by buttons in their heads. Of the
 * rows' buttons one is in the tab order, and arrows go on from there: nobody presses Tab a thousand times to get past it.
 */
import { button, el, oncePerFrame } from "./dom.js";

export interface Column<Row> {
  readonly title: string;
  readonly right?: boolean;
  /** CSS width; the first column takes what is left. */
  readonly width?: string;
  text(row: Row): string;
  /** Whether it is left out for now. */
  isHidden?(): boolean;
  /** What it sorts by; its text where absent. Nothing is last, whichever way. */
  by?(row: Row): number | string | undefined;
}

export interface TableOptions<Row> {
  readonly caption: string;
  readonly columns: readonly Column<Row>[];
  /** CSS length below which it scrolls sideways. */
  readonly minWidth: string;
  /** Makes the first cell of every row a button. */
  readonly onOpen?: (row: Row) => void;
  /** A class for a row. */
  readonly tone?: (row: Row) => string;
  readonly isCurrent?: (row: Row) => boolean;
}

/** px, as in demo.css. */
const ROW_HEIGHT = 34;
/** Rows beyond those in sight, so that scrolling shows no gaps. */
const OVERSCAN = 4;

export class VirtualTable<Row extends object> {
  readonly element: HTMLElement;
  /** Asks for new text in all rows. */
  readonly refresh: () => void;
  private readonly options: TableOptions<Row>;
  private readonly table: HTMLTableElement;
  private readonly body = el("tbody");
  private readonly above = el("tr", { "aria-hidden": "true", class: "spacer" });
  private readonly below = el("tr", { "aria-hidden": "true", class: "spacer" });
  private readonly heads: HTMLTableCellElement[];
  private readonly shown = new Map<Row, HTMLTableRowElement>();
  private rows: readonly Row[] = [];
  private order: readonly Row[] = [];
  /** The row whose button is in the tab order, where it is in sight. */
  private active: Row | undefined;
  private sort: { readonly column: number; readonly descending: boolean } | undefined;

  constructor(options: TableOptions<Row>) {
    this.options = options;
    const { caption, columns } = options;
    this.heads = columns.map(({ title, right }, i) =>
      el(
        "th",
        { scope: "col", class: right ? "right" : "" },
        button(title, () => this.sortBy(i), { class: "sort" }),
      ),
    );
    for (const spacer of [this.above, this.below]) spacer.append(el("td", { colspan: columns.length }));
    this.table = el(
      "table",
      { class: "virtual" },
      el("caption", { class: "hidden" }, caption),
      el("colgroup", {}, ...columns.map(({ width }) => withWidth(el("col"), width))),
      el("thead", {}, el("tr", {}, ...this.heads)),
      this.body,
    );
    this.table.style.minWidth = options.minWidth;
    const label = options.onOpen ? `${caption}; arrow keys go from row to row` : caption;
    this.element = el("div", { class: "scroller", tabindex: 0, role: "region", "aria-label": label }, this.table);
    const draw = oncePerFrame(() => this.draw(false));
    this.refresh = oncePerFrame(() => {
      this.reorder();
      this.draw(true);
    });
    this.element.addEventListener("scroll", draw, { passive: true });
    // What is cut off is told where someone points at it, and not to every cell at once.
    this.element.addEventListener("mouseover", ({ target }) => {
      const cell = (target as Element).closest("td, th") as HTMLElement | null;
      if (cell) cell.title = cell.textContent ?? "";
    });
    this.element.addEventListener("keydown", (event) => this.onKey(event));
    new ResizeObserver(draw).observe(this.element);
  }

  setRows(rows: readonly Row[]): void {
    this.rows = rows;
    this.refresh();
  }

  private sortBy(column: number): void {
    const again = this.sort?.column === column;
    this.sort = { column, descending: again && !this.sort!.descending };
    this.refresh();
  }

  /** The rows' order and what the heads say of it change together. */
  private reorder(): void {
    for (const [i, head] of this.heads.entries())
      if (i !== this.sort?.column) head.removeAttribute("aria-sort");
      else head.setAttribute("aria-sort", this.sort.descending ? "descending" : "ascending");
    if (!this.sort) {
      this.order = this.rows;
      return;
    }
    const { column, descending } = this.sort;
    const { by, text } = this.options.columns[column];
    const keyed = this.rows.map((row) => ({ row, key: by ? by(row) : text(row) }));
    keyed.sort((a, b) => compare(a.key, b.key, descending ? -1 : 1));
    this.order = keyed.map(({ row }) => row);
  }

  /** Columns that have nothing to say give their place to others. */
  private hideColumns(): void {
    const columns = this.table.querySelectorAll("col");
    for (const [i, { isHidden }] of this.options.columns.entries()) {
      const hidden = isHidden?.() ?? false;
      columns[i].hidden = hidden;
      this.heads[i].hidden = hidden;
    }
  }

  private draw(anew: boolean): void {
    const { element, order, shown } = this;
    if (anew) this.hideColumns();
    const first = Math.max(0, Math.floor(element.scrollTop / ROW_HEIGHT) - OVERSCAN);
    const count = Math.ceil(element.clientHeight / ROW_HEIGHT) + 2 * OVERSCAN;
    const inSight = order.slice(first, first + count);
    const wanted = new Set(inSight);
    for (const [row, line] of shown)
      if (!wanted.has(row)) {
        // Focus must not fall to the page's start when its row scrolls away.
        if (line.contains(document.activeElement)) element.focus({ preventScroll: true });
        line.remove();
        shown.delete(row);
      }
    this.table.setAttribute("aria-rowcount", String(order.length + 1));
    setHeight(this.above, first * ROW_HEIGHT);
    setHeight(this.below, Math.max(0, order.length - first - inSight.length) * ROW_HEIGHT);
    const lines = inSight.map((row, i) => {
      const line = shown.get(row);
      if (line && !anew) return line;
      return this.fill(line ?? this.newLine(row), row, first + i);
    });
    // Rows that stand where they should are not touched: moving an element takes its focus.
    const current = [this.above, ...lines, this.below];
    for (const [i, line] of current.entries())
      if (this.body.children[i] !== line) this.body.insertBefore(line, this.body.children[i] ?? null);
    const inTabOrder = this.active && wanted.has(this.active) ? this.active : inSight[0];
    for (const [row, line] of shown) {
      const target = line.querySelector("button");
      if (target) target.tabIndex = row === inTabOrder ? 0 : -1;
    }
  }

  private open(row: Row): void {
    this.active = row;
    this.draw(false);
    this.options.onOpen!(row);
  }

  private onKey(event: KeyboardEvent): void {
    const { order, shown } = this;
    const from = [...shown].find(([, line]) => line.contains(document.activeElement))?.[0];
    if (!from) return;
    const at = order.indexOf(from);
    const page = Math.max(1, Math.floor(this.element.clientHeight / ROW_HEIGHT) - 2);
    const steps: Readonly<Record<string, number>> = {
      ArrowDown: at + 1,
      ArrowUp: at - 1,
      PageDown: at + page,
      PageUp: at - page,
      Home: 0,
      End: order.length - 1,
    };
    const wanted = steps[event.key];
    if (wanted === undefined) return;
    event.preventDefault();
    const to = Math.min(Math.max(wanted, 0), order.length - 1);
    const { scrollTop, clientHeight } = this.element;
    // The head covers the first row's height of what is in sight.
    if (to * ROW_HEIGHT < scrollTop) this.element.scrollTop = to * ROW_HEIGHT;
    else if ((to + 2) * ROW_HEIGHT > scrollTop + clientHeight)
      this.element.scrollTop = (to + 2) * ROW_HEIGHT - clientHeight;
    this.active = order[to];
    this.draw(false);
    shown.get(this.active)?.querySelector("button")?.focus({ preventScroll: true });
  }

  private newLine(row: Row): HTMLTableRowElement {
    const { columns, onOpen } = this.options;
    const cells = columns.map(({ right }, i) => {
      const cell = el(i === 0 ? "th" : "td", { class: right ? "right" : "", scope: i === 0 ? "row" : undefined });
      if (i === 0 && onOpen) cell.append(button("", () => this.open(row), { class: "link" }));
      return cell;
    });
    const line = el("tr", {}, ...cells);
    this.shown.set(row, line);
    return line;
  }

  private fill(line: HTMLTableRowElement, row: Row, at: number): HTMLTableRowElement {
    const { columns, tone, isCurrent } = this.options;
    line.setAttribute("aria-rowindex", String(at + 2));
    line.className = tone?.(row) ?? "";
    for (const [i, { text }] of columns.entries()) {
      const cell = line.cells[i];
      cell.hidden = this.heads[i].hidden;
      const target = (cell.firstElementChild ?? cell) as HTMLElement;
      const now = text(row);
      if (target.textContent !== now) target.textContent = now;
    }
    if (isCurrent) {
      const target = line.cells[0].firstElementChild;
      if (isCurrent(row)) target?.setAttribute("aria-current", "true");
      else target?.removeAttribute("aria-current");
    }
    return line;
  }
}

function withWidth<T extends HTMLElement>(element: T, width: string | undefined): T {
  if (width) element.style.width = width;
  return element;
}

function setHeight(spacer: HTMLTableRowElement, height: number): void {
  spacer.hidden = height === 0;
  spacer.style.height = `${height}px`;
}

function compare(a: number | string | undefined, b: number | string | undefined, sign: number): number {
  const [noA, noB] = [isNothing(a), isNothing(b)];
  if (noA || noB) return Number(noA) - Number(noB);
  if (typeof a === "number" && typeof b === "number") return sign * (a - b);
  return sign * String(a).localeCompare(String(b), "en", { numeric: true });
}

const isNothing = (key: number | string | undefined) => key === undefined || key === "" || Number.isNaN(key);
