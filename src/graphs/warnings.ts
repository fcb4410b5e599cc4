import { SYMBOLS } from "../structures/elements.js";
import type { Structure } from "../structures/structure.js";

/** Something about a graph that can change a prediction and that its reader should know. */
export interface Warning {
  readonly code: "structure-note" | "neighbor-tie" | "few-neighbors" | "isolated-atom" | "cutoff-extended";
  readonly message: string;
  /** The atoms concerned, by position in the structure. */
  readonly atoms?: readonly number[];
}

/** What the reader of the structure had to assume. */
export function structureNotes({ notes = [] }: Structure): Warning[] {
  return notes.map((message) => ({ code: "structure-note", message }));
}

/** Atoms without an edge, by the edges' row starts. */
export function isolatedAtoms(structure: Structure, start: Int32Array, cutoff: number): Warning[] {
  const atoms: number[] = [];
  for (let i = 0; i + 1 < start.length; i++) if (start[i] === start[i + 1]) atoms.push(i);
  if (atoms.length === 0) return [];
  const message = `${nameAtoms(structure, atoms)}: no other atom within ${cutoff} Å, so nothing is known of its surroundings`;
  return [{ code: "isolated-atom", message, atoms }];
}

/** "O3, O4 and 10 more atoms": symbol and position from 1, as most viewers count. */
export function nameAtoms(structure: Structure, atoms: readonly number[]): string {
  const shown = atoms.slice(0, 4).map((i) => `${SYMBOLS[structure.numbers[i]]}${i + 1}`);
  const more = atoms.length - shown.length;
  return shown.join(", ") + (more ? ` and ${more} more ${more === 1 ? "atom" : "atoms"}` : "");
}
