/** unitcell's side: everything from a checkpoint's bytes and a CIF file's. */
import { loadModel, parseStructures, predict } from "unitcell";

export async function first(checkpoint, cif) {
  const model = await loadModel(checkpoint);
  const [{ value }] = await predict(model, parseStructures(new TextDecoder().decode(cif), { format: "cif" }));
  return value;
}
