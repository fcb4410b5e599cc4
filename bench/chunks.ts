/** Graphs in the batches that a session likes, without the bench's other parts, which no browser has. */
import type { Session } from "../src/backends/backend.js";
import { batchBytes } from "../src/batches.js";
import { collate } from "../src/graphs/batch.js";
import type { CrystalGraph } from "../src/graphs/graph.js";

/** First outputs of all graphs, batch after batch. */
export async function runAll(session: Session, graphs: readonly CrystalGraph[]): Promise<number[]> {
  const outputs: number[] = [];
  for (const chunk of chunks(session, graphs)) {
    const values = await session.run(collate(chunk), ({ warning }) => {
      // A time on another backend than the one that is measured is none.
      if (warning) throw new Error(warning.message);
    });
    const columns = values.length / chunk.length;
    for (let b = 0; b < chunk.length; b++) outputs.push(values[b * columns]);
  }
  return outputs;
}

function chunks(session: Session, graphs: readonly CrystalGraph[]): CrystalGraph[][] {
  const all: CrystalGraph[][] = [];
  let bytes = Number.POSITIVE_INFINITY;
  for (const graph of graphs) {
    const own = batchBytes(session, graph);
    if (bytes + own > session.goodBytes) {
      all.push([]);
      bytes = 0;
    }
    all[all.length - 1].push(graph);
    bytes += own;
  }
  return all;
}
