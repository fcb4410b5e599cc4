/**
 * What each atom contributes to a prediction, for networks that average their atoms' last features x_i into one vector
 * p = mean of x_i and go on from there with a function f. Where f is linear its value is a mean of terms of one atom each;
 * where it is not, no such terms exist, and the share is defined by the rule of Aumann and Shapley (Values of Non-Atomic
 * Games, 1974) along the straight path from 0 to p, which for a network is integrated gradients (Sundararajan et al.,
 * arXiv:1703.01365):
 *   share_i = (x_i . g + f(0)) / N,   g = the integral of the gradient of f at t p over t from 0 to 1
 * Shares add up to f(p), atoms of equal features have equal ones, and of a linear f they are its own terms. They depend on
 * 0 as the place to start from: another start gives another split of the same sum.
 */
import { cos } from "../structures/trigonometry.js";

/** The gradient averaged over the path (O, F) row-major, and the outputs at its start (O,), in float64. */
export interface PathGradient {
  readonly gradient: ArrayLike<number>;
  readonly start: ArrayLike<number>;
}

/** The path's gradient for the mean of a crystal's atoms (F,). */
export type ShareRule = (pooled: Float64Array) => PathGradient;

/** A differentiable function of (F,) with (O,) values. */
export interface Head {
  value(x: Float64Array): Float64Array;
  /** (O, F) row-major. */
  gradient(x: Float64Array): Float64Array;
}

/** Panels are halved until the integral along the path is the difference of the ends, to this relative to the outputs. */
const PATH_TOLERANCE = 1e-10;

/** At most 2^10 panels: a softplus is smooth on the scale of its slope, which in trained networks stays below some hundred. */
const MAX_HALVINGS = 10;

const QUADRATURE_POINTS = 16;

/** Of weight (O, F) and bias (O,): the gradient is the same everywhere. */
export function linearRule(weight: ArrayLike<number>, bias: ArrayLike<number>): ShareRule {
  return () => ({ gradient: weight, start: bias });
}

/**
 * The integral by Gauss's rule on panels that are halved where it misses. The test needs no finer rule: along the path
 * p . gradient integrates to the difference of the values at the panel's ends.
 */
export function pathRule(head: Head): ShareRule {
  return (pooled) => {
    const at = (t: number) => pooled.map((x) => t * x);
    const [start, end] = [head.value(at(0)), head.value(pooled)];
    const tolerance = start.map((x, o) => PATH_TOLERANCE * Math.max(1, Math.abs(x), Math.abs(end[o])));
    const total = new Float64Array(start.length * pooled.length);
    const panel = (from: number, to: number, ends: readonly [Float64Array, Float64Array], halvings: number): void => {
      const part = integrate((t) => head.gradient(at(t)), from, to);
      const misses = (limit: number, o: number) =>
        Math.abs(dot(part, o * pooled.length, pooled) - (ends[1][o] - ends[0][o])) > limit;
      if (halvings === MAX_HALVINGS || !tolerance.some(misses)) {
        for (const [k, x] of part.entries()) total[k] += x;
        return;
      }
      const middle = (from + to) / 2;
      const value = head.value(at(middle));
      panel(from, middle, [ends[0], value], halvings + 1);
      panel(middle, to, [value, ends[1]], halvings + 1);
    };
    panel(0, 1, [start, end], 0);
    return { gradient: total, start };
  };
}

/** The product of a row of a matrix, from an offset on, and a vector. */
function dot(matrix: Float64Array, offset: number, x: Float64Array): number {
  let sum = 0;
  for (let c = 0; c < x.length; c++) sum += matrix[offset + c] * x[c];
  return sum;
}

function integrate(f: (t: number) => Float64Array, from: number, to: number): Float64Array {
  let total: Float64Array | undefined;
  for (const [place, weight] of gaussLegendre()) {
    const value = f(from + (to - from) * place);
    total ??= new Float64Array(value.length);
    for (let k = 0; k < value.length; k++) total[k] += (to - from) * weight * value[k];
  }
  return total!;
}

let rule: readonly (readonly [place: number, weight: number])[] | undefined;

/** Gauss-Legendre places and weights on [0, 1]: roots of the Legendre polynomial by Newton's method. */
function gaussLegendre(): readonly (readonly [place: number, weight: number])[] {
  rule ??= Array.from({ length: QUADRATURE_POINTS }, (_, i) => {
    let x = cos((Math.PI * (i + 0.75)) / (QUADRATURE_POINTS + 0.5));
    let slope = 1;
    for (let step = 0; step < 10; step++) {
      let [before, value] = [1, x];
      for (let n = 2; n <= QUADRATURE_POINTS; n++)
        [before, value] = [value, ((2 * n - 1) * x * value - (n - 1) * before) / n];
      slope = (QUADRATURE_POINTS * (x * value - before)) / (x * x - 1);
      x -= value / slope;
    }
    return [(1 - x) / 2, 1 / ((1 - x * x) * slope * slope)];
  });
  return rule;
}
