/** What went wrong, of which file, to be read and dismissed. */
import { button, byId, el, leastApart } from "./dom.js";
import type { Problem } from "./messages.js";

/** Problems that are listed; beyond, only their number. */
const MOST_SHOWN = 20;

/** ms between words for screen readers: the list itself would be read out item by item. */
const SAY_EVERY = 3000;

interface Listed {
  readonly file: string;
  readonly problem: Problem;
}

export class ProblemList {
  private readonly list = byId("problems");
  private all: Listed[] = [];
  private readonly say = leastApart(SAY_EVERY, () => {
    const { length } = this.all;
    byId("problem-count").textContent = length === 0 ? "" : length === 1 ? "1 problem:" : `${length} problems:`;
  });

  /** One that is listed already, to the letter, is not news. */
  add(file: string, problem: Problem): void {
    const isKnown = this.all.some(
      (one) => one.file === file && one.problem.code === problem.code && one.problem.message === problem.message,
    );
    if (isKnown) return;
    this.all.push({ file, problem });
    this.draw();
  }

  /** Rows stay the elements that they are, so that the focus does. */
  private draw(): void {
    const shown = this.list.children.length;
    for (const listed of this.all.slice(shown, MOST_SHOWN)) this.list.append(this.item(listed));
    const more = this.all.length - this.list.children.length;
    byId("more-problems").textContent = more > 0 ? `${more} more` : "";
    this.say();
  }

  private item(listed: Listed): HTMLElement {
    const { file, problem } = listed;
    const { code, message } = problem;
    const dismiss = button("Dismiss", () => this.dismiss(listed, item), {
      class: "small",
      "aria-label": `Dismiss the error of ${file || "the page"}`,
    });
    const name = file ? el("b", {}, file) : undefined;
    const item = el("li", { class: "problem" }, name, " ", el("code", {}, code), ` ${message} `, dismiss);
    return item;
  }

  private dismiss(listed: Listed, item: HTMLElement): void {
    const at = [...this.list.children].indexOf(item);
    const hadFocus = item.contains(document.activeElement);
    this.all = this.all.filter((one) => one !== listed);
    item.remove();
    this.draw();
    if (!hadFocus) return;
    const next = this.list.children[at] ?? this.list.lastElementChild;
    (next?.querySelector<HTMLElement>("button") ?? byId("pick-files-button")).focus();
  }
}
