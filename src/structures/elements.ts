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
