/**
 * POST a structure, get its prediction by three networks. `deno serve` and Bun start this file as it is, node.mjs under
 * Node; hosts of functions that take a `fetch` or a default export like this one, too.
 */
import { readFile } from "node:fs/promises";
import { ensemble, loadModel } from "unitcell";
import { predictionHandler } from "unitcell/edge";

const FILES = ["cgcnn_ionic_best.pt", "alignn_ionic_best.pt", "megnet_ionic_best.pt"];
const about = { property: "electrostatic energy per atom (Ewald, formal charges)", unit: "eV/atom" };

/** Called at the first request; those that come meanwhile wait for it, too. */
async function load() {
  const models = FILES.map(async (name) => {
    const bytes = await readFile(new URL(`../saved_models/${name}`, import.meta.url));
    return loadModel(bytes, { ...about, name });
  });
  return ensemble(await Promise.all(models));
}

export default { fetch: predictionHandler(load, { maxBodyBytes: 256 * 1024, maxSites: 500 }) };
