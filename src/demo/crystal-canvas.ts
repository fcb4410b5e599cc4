/** A unit cell in 3D, by 3Dmol, which is loaded when the page is idle: half a megabyte that nothing else waits for. */
import type { GLViewer } from "3dmol";
import { whenIdle } from "./dom.js";
import type { StructureDetails } from "./messages.js";

type Crystal = NonNullable<StructureDetails["crystal"]>;
type Library = typeof import("3dmol");

/** Cells with more are drawn only when asked for: each atom is some hundred triangles. */
export const MOST_ATOMS = 1500;

/** Pairs of corners of a cell (as bits: a 1, b 2, c 4) that differ in one vector. */
const EDGES = [0, 1, 2, 3, 4, 5, 6, 7].flatMap((from) =>
  [1, 2, 4].flatMap((bit) => (from & bit ? [] : [[from, from | bit] as const])),
);

/** Share of the radius of van der Waals at which atoms are drawn: they stand apart, and sizes can be compared. */
const SCALE = 0.28;

/** Degrees that a press of a button turns by, and the factor that it comes nearer by. */
const TURN = 20;
const NEARER = 1.2;

/** Names of renderers that are programs. */
const SOFTWARE = /swiftshader|llvmpipe|softpipe|software|basic render/i;

/**
 * What suits the browser. Smooth edges are drawn at four times the pixels: without a GPU every picture would take half a
 * second. And 3Dmol draws to an OffscreenCanvas where there is one; that of WebKitGTK has no WebGL.
 * @throws {Error} where the browser has no WebGL
 */
function viewerOptions() {
  const gl = document.createElement("canvas").getContext("webgl2");
  if (!gl) throw new Error("this browser has no WebGL 2");
  const info = gl.getExtension("WEBGL_debug_renderer_info");
  const renderer = info ? String(gl.getParameter(info.UNMASKED_RENDERER_WEBGL)) : "";
  const offscreen = "OffscreenCanvas" in globalThis ? new OffscreenCanvas(1, 1).getContext("webgl2") : null;
  // Browsers have few contexts, and take the oldest away.
  for (const context of [gl, offscreen]) context?.getExtension("WEBGL_lose_context")?.loseContext();
  return {
    backgroundAlpha: 0,
    disableFog: true,
    antialias: !SOFTWARE.test(renderer),
    ...(!offscreen && ONE_OF_ONE),
  };
}

/** As one of a grid of viewers, it draws to the page's own canvas. */
const ONE_OF_ONE = { row: 0, col: 0, rows: 1, cols: 1 };

let library: Promise<Library> | undefined;

export function load3dmol(): Promise<Library> {
  library ??= import("3dmol");
  return library;
}

/** Loads it before someone asks, so that its evaluation does not fall into other work. */
export function preload3dmol(onFailure: (error: unknown) => void): void {
  whenIdle(() => {
    load3dmol().catch(onFailure);
  });
}

/** The colours that 3Dmol knows elements by (Jmol's). */
export async function elementColor(symbol: string): Promise<string> {
  const { elementColors } = await load3dmol();
  const color = (elementColors.Jmol as Record<string, number>)[symbol] ?? 0xff1493;
  return `#${color.toString(16).padStart(6, "0")}`;
}

export class CrystalCanvas {
  private readonly element: HTMLElement;
  private viewer: GLViewer | undefined;

  constructor(element: HTMLElement) {
    this.element = element;
    // 3Dmol takes every turn of the wheel; the page must scroll on. With Ctrl, as pinching gives it, it zooms.
    element.addEventListener(
      "wheel",
      (event) => {
        if (!event.ctrlKey) event.stopPropagation();
      },
      { capture: true, passive: true },
    );
  }

  /**
   * @param colors of each atom, "#rrggbb"
   * @throws {Error} where the browser has no WebGL
   */
  async draw(crystal: Crystal, colors: readonly string[], keepView: boolean): Promise<void> {
    const { createViewer } = await load3dmol();
    this.viewer ??= createViewer(this.element, viewerOptions()) ?? undefined;
    const { viewer } = this;
    if (!viewer) throw new Error("3Dmol made no viewer");
    const view = keepView ? viewer.getView() : undefined;
    viewer.clear();
    const { symbols, positions } = crystal;
    const model = viewer.addModel();
    model.addAtoms(
      symbols.map((elem, i) => ({
        elem,
        serial: i,
        x: positions[3 * i],
        y: positions[3 * i + 1],
        z: positions[3 * i + 2],
        bonds: [],
        bondOrder: [],
      })),
    );
    viewer.setStyle({}, { sphere: { scale: SCALE, colorfunc: ({ serial = 0 }) => colors[serial] } });
    this.drawCell(viewer, crystal);
    if (view) viewer.setView(view);
    else {
      viewer.zoomTo();
      viewer.rotate(-75, "x");
      viewer.rotate(25, "y");
      viewer.zoom(0.85);
    }
    viewer.render();
  }

  private drawCell(viewer: GLViewer, { lattice }: Crystal): void {
    const style = getComputedStyle(document.documentElement);
    const color = style.getPropertyValue("--cell").trim();
    const corner = (bits: number) => {
      const at = [0, 1, 2].map((axis) =>
        [1, 2, 4].reduce((sum, bit, row) => sum + (bits & bit ? lattice[3 * row + axis] : 0), 0),
      );
      return { x: at[0], y: at[1], z: at[2] };
    };
    const longest = Math.max(...[1, 2, 4].map((bits) => Math.hypot(...Object.values(corner(bits)))));
    const radius = Math.min(0.06, longest / 120);
    for (const [from, to] of EDGES)
      viewer.addCylinder({ start: corner(from), end: corner(to), radius, color, fromCap: 1, toCap: 1 });
    const labels = {
      showBackground: false,
      fontColor: style.getPropertyValue("--text").trim(),
      fontSize: 20,
      fontOpacity: 1,
    };
    for (const [text, bits] of [
      ["a", 1],
      ["b", 2],
      ["c", 4],
    ] as const)
      viewer.addLabel(text, { ...labels, position: corner(bits), inFront: true });
  }

  turn(axis: "x" | "y", by: 1 | -1): void {
    this.viewer?.rotate(by * TURN, axis);
  }

  zoom(by: 1 | -1): void {
    this.viewer?.zoom(NEARER ** by);
  }

  reset(): void {
    this.viewer?.zoomTo();
    this.viewer?.render();
  }
}
