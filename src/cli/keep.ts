/** The policies of --keep as one line of text. */
import type { CheckpointInfo } from "../runs/checkpoint-info.js";
import type { PrunePlan } from "../runs/prune-plan.js";
import {
  allOf,
  anyOf,
  keepBest,
  keepEvery,
  keepLatest,
  keepTagged,
  keepWithin,
  keepYoungerThan,
  type Ranking,
  type RetentionPolicy,
} from "../runs/retention.js";
import { shownName } from "./shown.js";
import { UsageError } from "./usage.js";

/** For the help texts: two spaces in, as the options. */
export const KEEP_HELP = `POLICY is a list: what any of its rules keeps is kept. Rules joined by "+" keep what all of them keep.
  best, final, last   files of that name; these, pinned files and what is no run's are never removed by a policy
  latest=N            the N highest epochs of each run
  best=N              the N best epochs of each run: lowest val_mae. best=N:METRIC another metric, best=N:METRIC:max
                      its highest values. An epoch whose metric is not known stays
  every=N             epochs that N divides
  younger=AGE         files written in the last 90s, 30m, 12h, 7d
  within=SIZE         the newest that fit into 500MB or 2GiB, all runs and what stays anyway counted
Examples: --keep best,final   --keep latest=2,best=3:val_loss,every=50   --keep latest=10+within=1GB
`;

const RULES = "best, final, last, latest=N, best=N[:METRIC[:min|max]], every=N, younger=AGE, within=SIZE";
const DEFAULT_METRIC = "val_mae";
/** Names of metrics or runs in a message. */
const MOST_NAMES = 10;
/** s */
const AGES: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86400 };
const BYTES: Readonly<Record<string, number>> = {
  b: 1,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
  tb: 1e12,
  kib: 2 ** 10,
  mib: 2 ** 20,
  gib: 2 ** 30,
  tib: 2 ** 40,
};

/** @throws {UsageError} that says which rule is wrong and what there is */
export function parseKeep(text: string, now: Date = new Date()): RetentionPolicy {
  const policies = text.split(",").map((part) => {
    const all = part.split("+").map((rule) => parseRule(rule.trim(), now));
    return all.length === 1 ? all[0] : allOf(...all);
  });
  return anyOf(...policies);
}

/** What a person may not have meant by a policy: a metric that nobody knows keeps all, a best file that is not there nothing. */
export function notesOnKeep(text: string, { keep, remove }: PrunePlan): string[] {
  const epochs = [...keep, ...remove].filter(({ tag }) => tag === "epoch");
  if (epochs.length === 0) return [];
  const rules = text.split(/[,+]/).map((rule) => rule.trim());
  const metrics = rules.flatMap((rule) =>
    rule.startsWith("best=") ? [bestOf(rule.slice("best=".length)).metric] : [],
  );
  return [
    ...metrics
      .filter((metric) => epochs.every((info) => info.metrics?.[metric] === undefined))
      .map(noteUnknown(epochs)),
    ...(rules.includes("best") && metrics.length === 0 ? withoutBest({ keep, remove }) : []),
  ];
}

function noteUnknown(epochs: readonly CheckpointInfo[]): (metric: string) => string {
  const known = [...new Set(epochs.flatMap((info) => Object.keys(info.metrics ?? {})))].slice(0, MOST_NAMES);
  const there = known.length > 0 ? `they have ${known.join(", ")}` : "they have none";
  return (metric) => `no epoch has the metric ${metric}, so all of them stay; ${there}`;
}

/** Runs that would lose an epoch, which may be their best one. */
function withoutBest({ keep, remove }: Pick<PrunePlan, "keep" | "remove">): string[] {
  const losing = new Set(remove.filter(({ tag }) => tag === "epoch").map(({ run }) => run));
  for (const { run, tag } of [...keep, ...remove]) if (tag === "best") losing.delete(run);
  if (losing.size === 0) return [];
  const names = [...losing].slice(0, MOST_NAMES).map(shownName).join(", ");
  const more = losing.size > MOST_NAMES ? ` and ${losing.size - MOST_NAMES} more` : "";
  return [`there is no best file of ${names}${more}, which "best" would keep; best=1 keeps the best epoch`];
}

function parseRule(rule: string, now: Date): RetentionPolicy {
  const [name, value] = rule.includes("=") ? splitAt(rule, "=") : [rule, undefined];
  if (value === undefined) {
    if (name === "best" || name === "final" || name === "last") return keepTagged(name);
    throw wrong(rule);
  }
  if (name === "latest") return keepLatest(whole(value, rule));
  if (name === "every") {
    const epochs = whole(value, rule);
    if (epochs > 0) return keepEvery(epochs);
  }
  if (name === "best") return parseBest(value, rule);
  if (name === "younger") return keepYoungerThan(measured(value, AGES, rule), now);
  if (name === "within") return keepWithin(measured(value, BYTES, rule));
  throw wrong(rule);
}

function parseBest(value: string, rule: string): RetentionPolicy {
  const { count, ...by } = bestOf(value);
  if (by.metric === "") throw wrong(rule);
  return keepBest(whole(count, rule), by);
}

/** "3", "3:val_loss", "3:auc:max". */
function bestOf(value: string): { count: string } & Ranking {
  const [count, ...rest] = value.split(":");
  const last = rest.at(-1);
  const mode = last === "min" || last === "max" ? last : "min";
  if (rest.length === 0) return { count, metric: DEFAULT_METRIC, mode };
  return { count, metric: (last === mode ? rest.slice(0, -1) : rest).join(":"), mode };
}

function splitAt(text: string, mark: string): [string, string] {
  const at = text.indexOf(mark);
  return [text.slice(0, at), text.slice(at + 1)];
}

function whole(text: string, rule: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw wrong(rule);
}

function measured(text: string, units: Readonly<Record<string, number>>, rule: string): number {
  const [, number, unit] = /^(\d+(?:\.\d+)?) ?([a-z]+)$/i.exec(text) ?? [];
  const factor = unit === undefined ? undefined : units[unit.toLowerCase()];
  if (factor === undefined) throw wrong(rule);
  return Number(number) * factor;
}

function wrong(rule: string): UsageError {
  return new UsageError(`--keep has no rule "${rule}"; there are ${RULES}; see unitcell prune --help`);
}
