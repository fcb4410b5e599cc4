/** Tabs as ARIA has them: one is in the tab order, arrows go to the others. */

export class Tabs {
  private readonly tabs: HTMLElement[];
  private readonly onShow: (panel: string) => void;

  /** @param list its children are the tabs, each with aria-controls */
  constructor(list: HTMLElement, onShow: (panel: string) => void) {
    this.tabs = [...list.querySelectorAll<HTMLElement>('[role="tab"]')];
    this.onShow = onShow;
    for (const tab of this.tabs) tab.addEventListener("click", () => this.show(panelOf(tab)));
    list.addEventListener("keydown", (event) => this.onKey(event));
  }

  show(panel: string): void {
    for (const tab of this.tabs) {
      const isShown = panelOf(tab) === panel;
      tab.setAttribute("aria-selected", String(isShown));
      tab.tabIndex = isShown ? 0 : -1;
      document.getElementById(panelOf(tab))!.hidden = !isShown;
    }
    this.onShow(panel);
  }

  private onKey(event: KeyboardEvent): void {
    const at = this.tabs.indexOf(document.activeElement as HTMLElement);
    const step = { ArrowRight: 1, ArrowLeft: -1, Home: -at, End: this.tabs.length - 1 - at }[event.key];
    if (at < 0 || step === undefined) return;
    event.preventDefault();
    const tab = this.tabs[(at + step + this.tabs.length) % this.tabs.length];
    this.show(panelOf(tab));
    tab.focus();
  }
}

const panelOf = (tab: HTMLElement) => tab.getAttribute("aria-controls")!;
