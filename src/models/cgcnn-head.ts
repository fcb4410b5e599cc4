import type { CgcnnConfig } from "../config.js";
import type { Param } from "../ops/program.js";
import type { Head } from "./shares.js";
import { sigmoid, softplus } from "./softplus.js";

/**
 * CGCNN from the pooled vector (hidden,) to its outputs, in float64: a softplus before each of conv_to_fc, fcs and fc_out.
 */
export function cgcnnHead({ denseLayers }: CgcnnConfig, params: ReadonlyMap<string, Param>): Head {
  const names = ["conv_to_fc", ...Array.from({ length: denseLayers - 1 }, (_, i) => `fcs.${i}`), "fc_out"];
  const layers = names.map((name) => ({
    weight: params.get(`${name}.weight`)!,
    bias: params.get(`${name}.bias`)!.data,
  }));
  /** What each softplus is given, and the outputs last. */
  const forward = (x: Float64Array): Float64Array[] => {
    const values = [x];
    for (const { weight, bias } of layers) {
      const active = values[values.length - 1].map(softplus);
      values.push(Float64Array.from(bias, (b, o) => b + rowDot(weight, o, active)));
    }
    return values;
  };
  return {
    value: (x) => forward(x)[layers.length],
    gradient: (x) => {
      const values = forward(x);
      const outputs = values[layers.length].length;
      const rows = Array.from({ length: outputs }, (_, o) => {
        let slope = Float64Array.from({ length: outputs }, (_x, k) => (k === o ? 1 : 0));
        for (let l = layers.length - 1; l >= 0; l--) {
          slope = timesMatrix(slope, layers[l].weight);
          for (let c = 0; c < slope.length; c++) slope[c] *= sigmoid(values[l][c]);
        }
        return [...slope];
      });
      return Float64Array.from(rows.flat());
    },
  };
}

function rowDot({ shape, data }: Param, row: number, x: Float64Array): number {
  const offset = row * shape[1];
  let sum = 0;
  for (let k = 0; k < x.length; k++) sum += data[offset + k] * x[k];
  return sum;
}

/** x (O,) times a matrix (O, K). */
function timesMatrix(x: Float64Array, { shape: [O, K], data }: Param): Float64Array<ArrayBuffer> {
  const product = new Float64Array(K);
  for (let o = 0; o < O; o++) for (let k = 0; k < K; k++) product[k] += x[o] * data[o * K + k];
  return product;
}
