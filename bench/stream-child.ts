/** stream-child.js CHECKPOINT COUNT: predict a stream of made-up crystals, then print a StreamReport. */
import { predictStream } from "../src/index.js";
import type { StreamReport } from "./stream.js";
import { binaryCrystals, readModel } from "./structures.js";

const MB = 2 ** 20;
const [checkpoint, count] = [process.argv[2], Number(process.argv[3])];
const model = await readModel(checkpoint);
const points: { done: number; rssMB: number; heapMB: number }[] = [];
let [predicted, failed] = [0, 0];
const start = performance.now();
for await (const result of predictStream(model, binaryCrystals(count))) {
  if ("error" in result) failed++;
  else predicted++;
  const done = predicted + failed;
  if (done % (count / 10) !== 0) continue;
  const { rss, heapUsed } = process.memoryUsage();
  points.push({ done, rssMB: rss / MB, heapMB: heapUsed / MB });
}
const report: StreamReport = { seconds: (performance.now() - start) / 1000, predicted, failed, points };
console.log(JSON.stringify(report));
