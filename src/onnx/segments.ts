/**
 * Sums and maxima over consecutive rows, in ONNX: the rows of each segment are gathered side by side and reduced. Every
 * provider can do that, and does it in one order, which a scatter does not; and rows in no segment have no say.
 */
import { SEGMENT_OF } from "../ops/gates.js";
import type { Axis } from "../ops/program.js";
import type { OnnxGraph } from "./graph.js";
import { countsOf, slotsOf } from "./inputs.js";
import { DATA_TYPE } from "./model-proto.js";

/** Segments of an operation: rows of `over` between the row starts, `rows` of them. */
export interface SegmentsOf {
  readonly starts: string;
  readonly over: Axis;
  readonly rows: Axis;
  readonly weights: string | undefined;
}

/**
 * Segments that consist of other segments. The bonds of a crystal are its atoms' bonds: side by side, bonds of each atom
 * and then atoms of each crystal take far less room than bonds of each crystal, where crystals differ in size.
 */
const CONSIST_OF: Readonly<Record<string, readonly [first: string, rows: Axis, then: string]>> = {
  crystalEdgeStart: ["edgeStart", "N", "crystalStart"],
};

/** Below every number that is not infinite. */
const LOWEST = -3.4e38;

export function indexInput(g: OnnxGraph, name: string, rows: Axis): string {
  return g.input({ name, kind: "index", rows, columns: 1 });
}

/** To each row in the segments its segment's row of x. */
export function gathered(g: OnnxGraph, x: string, { starts, over }: SegmentsOf): string {
  return g.add("Gather", [x, indexInput(g, SEGMENT_OF[starts], over)], { axis: 0 });
}

/** (S, F): weighted sums of x's rows; 0 where there are none. */
export function segmentSum(g: OnnxGraph, x: string, segments: SegmentsOf): string {
  const { starts, rows } = segments;
  const parts = partsOf(segments);
  if (parts) return segmentSum(g, segmentSum(g, x, parts.first), parts.whole);
  const { index, filled } = places(g, starts, rows);
  const factors = g.add("Unsqueeze", [weightsOf(g, segments), g.places(2)]);
  const products = g.add("Mul", [g.add("Gather", [x, index], { axis: 0 }), factors]);
  const sums = g.add("ReduceSum", [products, g.places(1)], { keepdims: 0 });
  return g.add("Where", [filled, sums, g.scalar(0)]);
}

/** (S, 1): sums of the weights. */
export function segmentWeight(g: OnnxGraph, segments: SegmentsOf): string {
  const { starts, weights } = segments;
  const parts = partsOf(segments);
  return g.once(`${starts}/total ${weights}`, () =>
    parts
      ? segmentSum(g, segmentWeight(g, parts.first), parts.whole)
      : g.add("ReduceSum", [weightsOf(g, segments), g.places(1)], { keepdims: 1 }),
  );
}

/** (S, 1): the highest of x's only column; LOWEST where there are no rows. */
export function segmentMax(g: OnnxGraph, x: string, segments: SegmentsOf): string {
  const parts = partsOf(segments);
  if (parts) return segmentMax(g, segmentMax(g, x, parts.first), parts.whole);
  const { index, live } = places(g, segments.starts, segments.rows);
  const flat = g.add("Squeeze", [g.add("Gather", [x, index], { axis: 0 }), g.places(2)]);
  return g.add("ReduceMax", [g.add("Where", [live, flat, g.scalar(LOWEST)])], { axes: [1], keepdims: 1 });
}

function partsOf({ starts, over, rows, weights }: SegmentsOf): { first: SegmentsOf; whole: SegmentsOf } | undefined {
  if (!(starts in CONSIST_OF)) return undefined;
  const [first, middle, then] = CONSIST_OF[starts];
  return {
    first: { starts: first, over, rows: middle, weights },
    whole: { starts: then, over: middle, rows, weights: undefined },
  };
}

/** Of segments with up to K rows: */
interface Places {
  /** (S, K) i32: the rows of each; beyond its last one some row that there is. */
  readonly index: string;
  /** (S, K) bool: which of them are in the segment. */
  readonly live: string;
  /** (S, 1) bool: whether there are any. */
  readonly filled: string;
}

function places(g: OnnxGraph, starts: string, rows: Axis): Places {
  const named = (name: string, write: () => string) => g.once(`${starts}/${name}`, write);
  const given = (kind: "starts" | "counts" | "slots", name: string) =>
    g.input({ name, kind, rows, columns: 1, ...(kind !== "starts" && { of: starts }) });
  const slots = given("slots", slotsOf(starts));
  const column = (kind: "starts" | "counts", name: string) =>
    named(kind, () => g.add("Unsqueeze", [given(kind, name), g.places(1)]));
  const begin = column("starts", starts);
  const count = column("counts", countsOf(starts));
  const live = named("live", () => g.add("Less", [slots, count]));
  const filled = named("filled", () => g.add("Greater", [count, g.int(0)]));
  const index = named("index", () => {
    const safe = g.add("Where", [filled, begin, g.int(0)]);
    return g.add("Where", [live, g.add("Add", [begin, slots]), safe]);
  });
  return { index, live, filled };
}

/** (S, K): the weight of each row of a segment, 0 beyond its last one. */
function weightsOf(g: OnnxGraph, { starts, over, rows, weights }: SegmentsOf): string {
  const { index, live } = places(g, starts, rows);
  return g.once(`${starts}/weights ${weights}`, () => {
    if (weights === undefined) return g.add("Cast", [live], { to: DATA_TYPE.f32 });
    const given = g.input({ name: weights, kind: "weights", rows: over, columns: 1 });
    return g.add("Where", [live, g.add("Gather", [given, index], { axis: 0 }), g.scalar(0)]);
  });
}

/** (B, 1) of zeros: something of the axis times nothing. */
export function zeroColumn(g: OnnxGraph, rows: Axis): string {
  return g.once(`zero ${rows}`, () =>
    g.add("Mul", [segmentWeight(g, { starts: "crystalStart", over: "N", rows, weights: undefined }), g.scalar(0)]),
  );
}
