/** The networks that run: how each is recognised, and where its code is, which is loaded when a checkpoint of it is met. */

import type { ModelConfig } from "../config.js";
import { loaded } from "../errors.js";
import type { Architecture } from "./architecture.js";
import { ALIGNN_MARKS, CGCNN_MARKS, MEGNET_MARKS } from "./marks.js";

export interface Known {
  readonly type: ModelConfig["type"];
  /** The name of its paper. */
  readonly title: string;
  readonly marks: readonly string[];
  load(): Promise<Architecture>;
}

export const KNOWN: readonly Known[] = [
  { type: "cgcnn", title: "CGCNN", marks: CGCNN_MARKS, load: async () => (await loaded(import("./cgcnn.js"))).CGCNN },
  {
    type: "alignn",
    title: "ALIGNN",
    marks: ALIGNN_MARKS,
    load: async () => (await loaded(import("./alignn.js"))).ALIGNN,
  },
  {
    type: "megnet",
    title: "MEGNet",
    marks: MEGNET_MARKS,
    load: async () => (await loaded(import("./megnet.js"))).MEGNET,
  },
];

/** The row of a config. */
export function knownOf({ type }: ModelConfig): Known {
  return KNOWN.find((row) => row.type === type)!;
}
