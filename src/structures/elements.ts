/** Chemical symbols by atomic number; index 0 is empty. IUPAC names up to oganesson (Z = 118). */
export const SYMBOLS: readonly string[] = (
  " H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr Nb Mo " +
  "Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl " +
  "Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og"
).split(" ");

const NUMBERS: ReadonlyMap<string, number> = new Map(
  SYMBOLS.flatMap((symbol, number): [string, number][] => (number ? [[symbol.toLowerCase(), number]] : [])),
);

/** Atomic number of a symbol in any case, or undefined. D and T are hydrogen isotopes and map to 1. */
export function atomicNumber(symbol: string): number | undefined {
  const key = symbol.toLowerCase();
  return key === "d" || key === "t" ? 1 : NUMBERS.get(key);
}

/**
 * Pauling electronegativity by atomic number (index 0 unused), infinite where none is defined (He, Ne, Ar, beyond No).
 * Source: pymatgen 2022.11's Element.X (Pauling's scale), which orders the sites of every CIF that upstream reads.
 */
export const ELECTRONEGATIVITY: readonly number[] = (
  "- 2.2 - 0.98 1.57 2.04 2.55 3.04 3.44 3.98 - 0.93 1.31 1.61 1.9 2.19 2.58 3.16 - 0.82 1 1.36 1.54 1.63 1.66 1.55 " +
  "1.83 1.88 1.91 1.9 1.65 1.81 2.01 2.18 2.55 2.96 3 0.82 0.95 1.22 1.33 1.6 2.16 1.9 2.2 2.28 2.2 1.93 1.69 1.78 " +
  "1.96 2.05 2.1 2.66 2.6 0.79 0.89 1.1 1.12 1.13 1.14 1.13 1.17 1.2 1.2 1.1 1.22 1.23 1.24 1.25 1.1 1.27 1.3 1.5 " +
  "2.36 1.9 2.2 2.2 2.28 2.54 2 1.62 2.33 2.02 2 2.2 2.2 0.7 0.9 1.1 1.3 1.5 1.38 1.36 1.28 1.3 1.3 1.3 1.3 1.3 1.3 " +
  "1.3 1.3 1.3 - - - - - - - - - - - - - - - -"
)
  .split(" ")
  .map((x) => (x === "-" ? Number.POSITIVE_INFINITY : Number(x)));

/** Reduced formula of a crystal's atomic numbers, elements by rising electronegativity: "SrTiO3", "LiFePO4". */
export function chemicalFormula(numbers: ArrayLike<number>): string {
  const counts = new Map<number, number>();
  for (let i = 0; i < numbers.length; i++) counts.set(numbers[i], (counts.get(numbers[i]) ?? 0) + 1);
  const divisor = [...counts.values()].reduce(greatestCommonDivisor);
  return [...counts]
    .sort(([a], [b]) => compareNumbers(ELECTRONEGATIVITY[a], ELECTRONEGATIVITY[b]) || a - b)
    .map(([number, count]) => SYMBOLS[number] + (count === divisor ? "" : count / divisor))
    .join("");
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}

/** Infinite electronegativities compare equal, where a difference would be NaN. */
function compareNumbers(a: number, b: number): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
export interface Species {
  readonly number: number;
  /** Written as D: read as hydrogen, which a reader says in its notes. */
  readonly deuterium: boolean;
}

/** One or two letters that end there: `Na`, `Na+`, `Zn2+`, `Fe+3`, `O1`, `Fe_pv`, `O/9aa1bc`. */
const SPECIES = /^([A-Za-z]{1,2})(?![A-Za-z])/;

/**
 * The element of a species written with a charge, a number or a pseudopotential suffix, in any case; undefined when the
 * letters are no element. T is not taken for tritium: in structure files it is a tetrahedral site.
 */
export function parseSpecies(text: string): Species | undefined {
  const letters = SPECIES.exec(text)?.[1];
  if (letters === undefined || letters.toLowerCase() === "t") return undefined;
  const number = atomicNumber(letters);
  return number === undefined ? undefined : { number, deuterium: letters.toLowerCase() === "d" };
}

export const DEUTERIUM_NOTE = "deuterium (D) was read as hydrogen";
