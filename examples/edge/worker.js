/** Predictions on Cloudflare Workers, and on workerd, which runs them: POST a structure, get its record. */
import { loadModel } from "unitcell";
import { predictionHandler } from "unitcell/edge";
// Bytes that are deployed with the code: rule "Data" of wrangler.toml, loader of build.mjs.
import checkpoint from "../saved_models/cgcnn_ionic_best.pt";

const model = () =>
  loadModel(checkpoint, {
    property: "electrostatic energy per atom (Ewald, formal charges)",
    unit: "eV/atom",
    name: "cgcnn_ionic",
  });

export default { fetch: predictionHandler(model, { maxBodyBytes: 256 * 1024, maxSites: 500, allowOrigin: "*" }) };
