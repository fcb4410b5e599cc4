/** Numbers in [0, 1) from a seed: the linear congruential generator of Numerical Recipes (Press et al., 7.1). */
export function seededRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}
