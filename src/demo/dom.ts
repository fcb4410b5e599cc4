/** Elements in one line each. Text is always a text node: what files say is never read as HTML. */

type Attributes = Readonly<Record<string, string | number | boolean | undefined>>;
type Child = Node | string | undefined;

/** @param attributes false and undefined are left out, true is an attribute without value */
export function el<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes))
    if (value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : String(value));
  for (const child of children) if (child !== undefined) element.append(child);
  return element;
}

export function button(text: string, onClick: () => void, attributes: Attributes = {}): HTMLButtonElement {
  const element = el("button", { type: "button", ...attributes }, text);
  element.addEventListener("click", onClick);
  return element;
}

/** An element of index.html. @throws {Error} where there is none: page and script are of different builds */
export function byId<T extends HTMLElement>(id: string): T {
  const element = document.getElementById(id);
  if (!element) throw new Error(`the page has no element "${id}"`);
  return element as T;
}

/** Once the browser has nothing better to do; Safari has no requestIdleCallback. */
export function whenIdle(run: () => void): void {
  if ("requestIdleCallback" in globalThis) requestIdleCallback(run, { timeout: 3000 });
  else setTimeout(run, 500);
}

/** Calls `run` once before the next frame, however often it is asked to. */
export function oncePerFrame(run: () => void): () => void {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      run();
    });
  };
}

/** Calls `run` once when the browser is idle, however often it is asked to. */
export function oncePerIdle(run: () => void): () => void {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    whenIdle(() => {
      asked = false;
      run();
    });
  };
}

/** Calls `run` at once, and again no sooner than after so many ms, however often it is asked to. */
export function leastApart(ms: number, run: () => void): () => void {
  let last = Number.NEGATIVE_INFINITY;
  let timer: ReturnType<typeof setTimeout> | undefined;
  return () => {
    if (timer !== undefined) return;
    const wait = last + ms - performance.now();
    const now = () => {
      timer = undefined;
      last = performance.now();
      run();
    };
    if (wait <= 0) now();
    else timer = setTimeout(now, wait);
  };
}

/**
 * Builds a list's items anew. The focus stays on what has the same `data-focus`; where that item is gone, it goes to the same
 * place of the one after it.
 * @param otherwise takes the focus where no item is left
 */
export function replaceItems(list: HTMLElement, items: readonly HTMLElement[], otherwise: HTMLElement): void {
  const focused = list.contains(document.activeElement) ? (document.activeElement as HTMLElement) : undefined;
  const at = [...list.children].findIndex((item) => item.contains(document.activeElement));
  const former = focused?.closest<HTMLElement>("[data-item]")?.dataset.item;
  list.replaceChildren(...items);
  if (!focused) return;
  const item = items.find(({ dataset }) => dataset.item === former) ?? items[Math.min(at, items.length - 1)];
  const same = item?.querySelector<HTMLElement>(`[data-focus="${focused.dataset.focus}"]:not([disabled])`);
  (same ?? item?.querySelector<HTMLElement>("button") ?? otherwise).focus();
}

/** Hands a file to the browser's downloads. */
export function saveBlob(blob: Blob, name: string): void {
  const url = URL.createObjectURL(blob);
  el("a", { href: url, download: name }).click();
  // The download holds the data by then; at once would be too early for some browsers.
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
