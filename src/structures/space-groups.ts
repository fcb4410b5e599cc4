/**
 * From the name of a space group to its operators: the 530 settings of International Tables by Hall symbol,
 * Hermann-Mauguin symbol in any usual spelling, or number. The table is written by test/fixtures/make-spacegroups.py.
 */
import { UnitcellError } from "../errors.js";
import { hallOperators } from "./hall.js";
import table from "./space-groups.json";
import { formatOperator, operatorOffLattice, type SymmetryOperator } from "./symmetry.js";

export interface SpaceGroupSetting {
  /** International Tables number, 1 to 230. */
  readonly number: number;
  /** Axes, cell or origin choice as spglib writes it: "", "b1", "-cba", "2", "H", "1cab". */
  readonly choice: string;
  readonly hall: string;
  /** Full Hermann-Mauguin symbol, parts separated by spaces, no underscores. */
  readonly full: string;
  /** Lower-case symbols without spaces that name this setting: full, short, and before the e glide. */
  readonly keys: readonly string[];
}

/** What a file may say about its space group. */
export interface SpaceGroupNames {
  readonly hall?: string | undefined;
  readonly hermannMauguin?: string | undefined;
  readonly number?: number | undefined;
}

export interface NamedOperators {
  readonly operators: readonly SymmetryOperator[];
  /** Set when the name leaves a choice open: which setting was assumed. */
  readonly note?: string;
}

let parsedSettings: readonly SpaceGroupSetting[] | undefined;

/** All 530, in the order of preference among settings of one number: origin choice 1 after all others. */
export function spaceGroupSettings(): readonly SpaceGroupSetting[] {
  parsedSettings ??= table.settings
    .split("\n")
    .map((line): SpaceGroupSetting => {
      const [number, choice, hall, full, old = ""] = line.split("|");
      const keys = [full, shortSymbol(Number(number), full), old].filter(Boolean).map(squeeze);
      return { number: Number(number), choice, hall, full, keys };
    })
    // Stable: within one number the table has unique axis b, cell choice 1 and hexagonal axes first.
    .sort((a, b) => a.number - b.number || Number(a.choice.startsWith("1")) - Number(b.choice.startsWith("1")));
  return parsedSettings;
}

/** `P 1 21/c 1` -> `P 21/c`, `P 21/n 21/m 21/a` -> `P n m a`, `F 4/m -3 2/m` -> `F m -3 m`, `P 42/m 2/m 2/c` -> `P 42/m m c`. */
function shortSymbol(number: number, full: string): string {
  const words = full.split(" ");
  if (number >= 3 && number <= 15) return words.filter((word) => word !== "1").join(" ");
  return words
    .map((word) => (word.includes("/") && (word.startsWith("2") || number >= 195) ? word.split("/")[1] : word))
    .join(" ");
}

/** Spaces, underscores and the brackets of `P 2(1)/c` carry no meaning. */
function squeeze(symbol: string): string {
  return symbol.replace(/[\s_()]/g, "").toLowerCase();
}

/** Trailing letters of ICSD: hexagonal and rhombohedral axes, origin choice 1 (S) and 2 (Z). */
const ICSD_SUFFIXES: Readonly<Record<string, string>> = { h: "h", r: "r", s: "1", z: "2" };

/** Settings a Hermann-Mauguin symbol may mean, preferred first; none when it is unknown. */
export function settingsBySymbol(symbol: string): SpaceGroupSetting[] {
  const [name, qualifier] = squeeze(symbol).split(":");
  const find = (key: string, choice: string | undefined) =>
    spaceGroupSettings().filter(
      (setting) => setting.keys.includes(key) && (choice === undefined || matchesChoice(setting.choice, choice)),
    );
  const found = find(name, qualifier);
  if (found.length > 0) return found;
  // Before 1983 the bar of m-3 and m-3m was left out: Fm3m, Pa3.
  const barred = name.replace(/^([pfi][mnad])3/, "$1-3");
  if (barred !== name) return settingsBySymbol(qualifier === undefined ? barred : `${barred}:${qualifier}`);
  const suffix = ICSD_SUFFIXES[name.slice(-1)];
  return suffix && qualifier === undefined ? settingsBySymbol(`${name.slice(0, -1)}:${suffix}`) : [];
}

/** `2` also names `2cab`: the axes are in the symbol, the qualifier adds the origin. */
function matchesChoice(choice: string, qualifier: string): boolean {
  return choice.toLowerCase() === qualifier || (/^[12]$/.test(qualifier) && choice.startsWith(qualifier));
}

/** `C -1`, `I 1`: centred triclinic cells are in no table but leave no question. */
const CENTRED_TRICLINIC = /^([abcfi])(-?)1$/;

/**
 * Operators of the group a file names: by Hall symbol, else Hermann-Mauguin symbol, else number. Of several settings
 * those that fit the cell are kept, the preferred one of them is taken, and a note says so.
 * @param metric (3, 3) metric tensor of the cell, Å²
 * @returns undefined when no name is given
 * @throws {UnitcellError} CORRUPT for an unknown name, MISMATCH when no setting of it fits the cell
 */
export function operatorsByName(names: SpaceGroupNames, metric: readonly number[]): NamedOperators | undefined {
  const { hall, hermannMauguin, number } = names;
  if (hall !== undefined) return fitting(`Hall symbol "${hall}"`, [{ hall, label: hall }], metric);
  if (hermannMauguin !== undefined) {
    const name = `space group "${hermannMauguin}"`;
    const triclinic = CENTRED_TRICLINIC.exec(squeeze(hermannMauguin));
    if (triclinic) return fitting(name, [{ hall: `${triclinic[2]}${triclinic[1]} 1`, label: name }], metric);
    return fitting(name, settingsBySymbol(hermannMauguin).map(candidate), metric);
  }
  if (number === undefined) return undefined;
  const settings = spaceGroupSettings().filter((setting) => setting.number === number);
  return fitting(`space group number ${number}`, settings.map(candidate), metric);
}

interface Candidate {
  readonly hall: string;
  readonly label: string;
}

function candidate({ number, choice, hall, full }: SpaceGroupSetting): Candidate {
  return { hall, label: `${full} (${choice ? `${number}:${choice}` : number})` };
}

/** How many of the settings passed over a note lists. */
const LISTED_ALTERNATIVES = 5;

function fitting(name: string, candidates: readonly Candidate[], metric: readonly number[]): NamedOperators {
  if (candidates.length === 0)
    throw new UnitcellError("CORRUPT", `${name} is not in International Tables, and no operators are listed`, { name });
  const distinct = [...new Map(candidates.map((c) => [c.hall, c])).values()];
  const expanded = distinct.map((c) => ({ ...c, operators: hallOperators(c.hall) }));
  const fits = expanded.filter(({ operators }) => operatorOffLattice(operators, metric) === undefined);
  if (fits.length === 0) {
    const off = operatorOffLattice(expanded[0].operators, metric);
    throw new UnitcellError("MISMATCH", `${name} does not fit the cell: "${off && formatOperator(off)}" changes it`, {
      name,
    });
  }
  const [{ operators, label }, ...others] = fits;
  if (others.length === 0) return { operators };
  const shown = others.slice(0, LISTED_ALTERNATIVES).map((other) => other.label);
  const more = others.length > shown.length ? ` and ${others.length - shown.length} more` : "";
  return { operators, note: `${name} without operators: assumed ${label}, not ${shown.join(", ")}${more}` };
}
