/**
 * Predict with a network that `unitcell convert` wrote as ONNX, on crystals that `unitcell graph --json` wrote.
 *
 *   node predict.mjs model.onnx inputs.json
 *
 * Needs onnxruntime-node or onnxruntime-web. Prints a line for each crystal.
 */
import { readFileSync } from "node:fs";

if (process.argv.length !== 4) {
  console.error("usage: node predict.mjs model.onnx inputs.json");
  process.exit(2);
}
const [modelFile, inputsFile] = process.argv.slice(2);
const model = readFileSync(modelFile);
const metadata = onnxMetadata(model);
const { inputs, structures, model: madeFor } = JSON.parse(readFileSync(inputsFile, "utf8"));

const ort = await import("onnxruntime-node").catch((error) => {
  if (error.code !== "ERR_MODULE_NOT_FOUND") throw error;
  return import("onnxruntime-web");
});
const session = await ort.InferenceSession.create(model);
const missing = session.inputNames.filter((name) => !(name in inputs));
const unknown = Object.keys(inputs).filter((name) => !session.inputNames.includes(name));
if (missing.length + unknown.length > 0)
  throw new Error(`${inputsFile} is not for this network: missing [${missing}], unknown [${unknown}]`);

// Graphs made for another network are right for this one, too, if their settings are the same.
const settings = JSON.stringify(madeFor.graph);
if (settings !== metadata.get("unitcell.graph"))
  throw new Error(
    `${inputsFile} has graphs of other settings than the network's: ${settings}, ${metadata.get("unitcell.graph")}`,
  );
for (const warning of JSON.parse(metadata.get("unitcell.warnings") ?? "[]")) console.error(`warning: ${warning}`);

const feeds = {};
for (const [name, { type, data, dims }] of Object.entries(inputs)) feeds[name] = new ort.Tensor(type, data, dims);
const { output } = await session.run(feeds);
if (!output.data.every(Number.isFinite)) throw new Error("the network gives no numbers for these crystals");

const columns = output.dims[1];
console.log(metadata.get("unitcell.property") ?? "a property that the checkpoint does not name");
for (const [i, { id }] of structures.entries()) {
  const row = Array.from(output.data.subarray(i * columns, (i + 1) * columns));
  const values = read(row).map((value) => Number(value.toPrecision(7)));
  console.log([id, ...values, metadata.get("unitcell.unit") ?? ""].join(" "));
}

/** Values or probabilities from the network's own outputs for a crystal. */
function read(row) {
  // One output is the probability of class 1, several are logarithms of the probabilities of each class.
  if (metadata.get("unitcell.task") === "classification") return row.length === 1 ? row : row.map(Math.exp);
  const { mean, std } = JSON.parse(metadata.get("unitcell.normalizer") ?? '{"mean":0,"std":1}');
  return row.map((value) => value * std + mean);
}

/**
 * The metadata of an ONNX file, which onnxruntime gives in Python but not in JavaScript. The file is a protobuf message
 * (github.com/onnx/onnx, onnx.proto): field 14 of ModelProto holds entries of a key (field 1) and a value (field 2).
 */
function onnxMetadata(file) {
  const text = new TextDecoder();
  const entries = [...fields(file)].filter(({ field }) => field === 14);
  return new Map(entries.map(({ bytes }) => [...fields(bytes)].map((part) => text.decode(part.bytes))));
}

/** The fields of a protobuf message that are bytes; the others of a ModelProto are numbers. */
function* fields(message) {
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = message[at++];
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  };
  while (at < message.length) {
    const tag = varint();
    const size = varint();
    if (tag % 8 !== 2) continue; // a number, now read
    yield { field: tag >> 3, bytes: message.subarray(at, at + size) };
    at += size;
  }
}
