/** Colours for numbers: cividis, whose order can be seen by the colour-blind and in grey. */

/** At equal steps from the least to the greatest. Source: matplotlib's cividis. */
const STOPS = ["#00224e", "#35456c", "#666970", "#948e77", "#c8b866", "#fee838"];

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
