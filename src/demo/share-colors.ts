/**
 * Colours for numbers: from blue to yellow, lighter at every step, so that the order can be seen by the colour-blind and in
 * grey; the darkest still stands out from a dark page, the lightest from a light one.
 */

/** At equal steps from the least to the greatest. */
const STOPS = ["#3d5fa8", "#3c88b0", "#55ac96", "#9cc172", "#f2c53d"];

/** The same as a CSS gradient. */
export const SHARE_GRADIENT = `linear-gradient(to right, ${STOPS.join(", ")})`;

/** @param at 0 to 1 */
export function shareColor(at: number): string {
  const place = Math.min(Math.max(at, 0), 1) * (STOPS.length - 1);
  const low = Math.min(Math.floor(place), STOPS.length - 2);
  const [from, to] = [STOPS[low], STOPS[low + 1]].map(channels);
  const mixed = from.map((value, i) => Math.round(value + (to[i] - value) * (place - low)));
  return `#${mixed.map((value) => value.toString(16).padStart(2, "0")).join("")}`;
}

const channels = (color: string) => [1, 3, 5].map((at) => Number.parseInt(color.slice(at, at + 2), 16));
