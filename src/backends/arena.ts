import type { Axis, Program } from "../ops/program.js";

/** Byte offset of every value in one block of memory, and the size of the block. */
export interface ArenaPlan {
  readonly offsets: readonly number[];
  readonly bytes: number;
}

interface Gap {
  at: number;
  size: number;
}

/**
 * Place the values of a run so that two share bytes only when the first is dead before the second is written.
 * A value lives from its node to its last reader, those in `kept` to the end; batch inputs lie elsewhere. Each goes to the smallest free gap that
 * holds it, else to the top.
 */
export function planArena(
  program: Program,
  sizes: Readonly<Record<Axis, number>>,
  kept: ReadonlySet<number> = new Set([program.output.id]),
): ArenaPlan {
  const lastReader = program.nodes.map((node) => node.output.id);
  for (const node of program.nodes) for (const input of node.inputs) lastReader[input.id] = node.output.id;
  for (const id of kept) lastReader[id] = program.nodes.length;
  const bytesOf = program.nodes.map(({ op, output }) =>
    op === "input" ? 0 : Math.ceil((sizes[output.rows] * output.columns) / 4) * 16,
  );
  const offsets: number[] = [];
  let gaps: Gap[] = [];
  let top = 0;
  for (const node of program.nodes) {
    const id = node.output.id;
    const size = bytesOf[id];
    const gap = gaps.filter((g) => g.size >= size).sort((a, b) => a.size - b.size)[0];
    if (gap) {
      offsets[id] = gap.at;
      gap.at += size;
      gap.size -= size;
    } else {
      offsets[id] = top;
      top += size;
    }
    const dead = new Set([...node.inputs.map((input) => input.id), id].filter((value) => lastReader[value] === id));
    for (const value of dead) gaps.push({ at: offsets[value], size: bytesOf[value] });
    gaps = merged(gaps);
  }
  return { offsets, bytes: top };
}

/** Neighbouring gaps as one, empty ones dropped. */
function merged(gaps: Gap[]): Gap[] {
  const out: Gap[] = [];
  for (const gap of gaps.filter((g) => g.size > 0).sort((a, b) => a.at - b.at)) {
    const last = out.at(-1);
    if (last && last.at + last.size === gap.at) last.size += gap.size;
    else out.push({ ...gap });
  }
  return out;
}
