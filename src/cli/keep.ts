/** The policies of --keep as one line of text. */
import {
  allOf,
  anyOf,
  keepBest,
  keepEvery,
  keepLatest,
  keepTagged,
  keepWithin,
  keepYoungerThan,
  type RetentionPolicy,
} from "../runs/retention.js";
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
  const [count, ...rest] = value.split(":");
  const last = rest.at(-1);
  const mode = last === "min" || last === "max" ? last : "min";
  const metric = (last === mode ? rest.slice(0, -1) : rest).join(":");
  if (rest.length > 0 && metric === "") throw wrong(rule);
  return keepBest(whole(count, rule), { metric: metric || DEFAULT_METRIC, mode });
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
