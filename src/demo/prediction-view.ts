/** What is predicted of one structure: value, spread, members, warnings, where and how fast it was computed. */
import { el } from "./dom.js";
import type { Problem, StructureDetails } from "./messages.js";
import { shownTime, shownValue } from "./shown.js";

export function predictionView({ prediction, problem, crystal }: StructureDetails): HTMLElement {
  const element = el("div", { class: "prediction" });
  if (problem) element.append(problemView(problem));
  else if (!prediction) element.append(el("p", { class: "muted" }, "Not predicted yet."));
  if (crystal)
    for (const note of crystal.notes) element.append(el("p", { class: "muted" }, `The reader notes: ${note}`));
  if (!prediction) return element;
  const { value, std, unit, property, members = [], probabilities, backend, elapsedMs, warnings } = prediction;
  const spread = std === undefined ? "" : ` ± ${shownValue(std)}`;
  element.append(
    el("p", { class: "property" }, property ?? "the checkpoint does not name the property"),
    el(
      "p",
      { class: "value" },
      el("strong", { id: "value" }, shownValue(value, 5)),
      el("span", { id: "spread" }, spread),
      el("span", { class: "unit" }, unit ? ` ${unit}` : ""),
    ),
  );
  if (std !== undefined)
    element.append(
      el(
        "p",
        { class: "muted" },
        `± is the standard deviation of ${members.length} models: how much they differ, not how wrong they are.`,
      ),
    );
  if (probabilities)
    element.append(el("p", {}, `Classes: ${probabilities.map((p, i) => `${i}: ${shownValue(p)}`).join(", ")}`));
  if (members.length > 0) element.append(membersTable(prediction));
  element.append(el("p", { class: "muted" }, `Computed in ${shownTime(elapsedMs)} by ${backend}.`));
  if (warnings.length > 0)
    element.append(
      el(
        "ul",
        { class: "warnings", "aria-label": "Warnings" },
        ...warnings.map(({ code, message, member }) =>
          el(
            "li",
            {},
            el("code", {}, code),
            ` ${member === undefined ? "" : `${members[member]?.model.name}: `}${message}`,
          ),
        ),
      ),
    );
  return element;
}

function membersTable({ members = [] }: NonNullable<StructureDetails["prediction"]>): HTMLElement {
  return el(
    "table",
    { class: "plain" },
    el("caption", { class: "hidden" }, "What each model of the ensemble says"),
    el("thead", {}, el("tr", {}, head("model"), head("network"), head("value", true))),
    el(
      "tbody",
      {},
      ...members.map(({ model, value }) =>
        el(
          "tr",
          {},
          el("th", { scope: "row" }, model.name ?? model.architecture),
          el("td", {}, model.architecture),
          el("td", { class: "right" }, shownValue(value)),
        ),
      ),
    ),
  );
}

const head = (text: string, right = false) => el("th", { scope: "col", class: right ? "right" : "" }, text);

export function problemView({ code, message }: Problem): HTMLElement {
  return el("p", { class: "problem" }, el("code", {}, code), ` ${message}`);
}
