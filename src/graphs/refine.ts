/**
 * Colour refinement on the atoms, bonds and pairs of bonds of a crystal graph (Weisfeiler and Leman 1968; that networks
 * of message passing tell no more apart: Xu et al., arXiv:1810.00826). A colour is two 32-bit hashes of what its row has
 * seen, in ways that do not depend on the order of rows, so equal crystals get equal colours however their atoms are
 * listed. Colours that two different rows share by accident are possible in principle: lift.ts checks the classes exactly.
 */

/** Colours of rows, two words each. */
export interface Colors {
  readonly a: Int32Array;
  readonly b: Int32Array;
}

/** Rows by class. */
export interface Classes {
  /** Class of each row. */
  readonly of: Int32Array;
  /** First row of each class. */
  readonly first: Int32Array;
}

/** A graph by numbers: edge e goes from atom source[e] to the atom whose start .. end holds it. */
export interface Edges {
  readonly numbers: Uint8Array;
  readonly start: Int32Array;
  readonly source: Int32Array;
  /** (E,) cluster of each edge's length. */
  readonly length: Int32Array;
}

/** Pairs of edges by numbers: edge e receives from source[start[e] .. start[e + 1]). */
export interface Pairs {
  readonly start: Int32Array;
  readonly source: Int32Array;
  /** (T,) cluster of each pair's cosine. */
  readonly cosine: Int32Array;
}

/** Colours of a graph's atoms and edges. */
export interface Coloring {
  readonly atoms: Colors;
  readonly edges: Colors;
}

/**
 * Colours that their neighbours' no longer split, by atomic numbers and lengths alone. How many rounds that takes depends
 * on the classes, not on how many rows they have, so a supercell's colours are those of the cell.
 */
export function refineBonds(graph: Edges): Coloring {
  const { numbers } = graph;
  const atoms = { a: new Int32Array(numbers), b: new Int32Array(numbers.length) };
  for (let i = 0; i < numbers.length; i++) atoms.b[i] = mix(numbers[i], 1);
  const edges = { a: new Int32Array(graph.source.length), b: new Int32Array(graph.source.length) };
  for (let known = 0; ; ) {
    colorEdges(graph, atoms, edges);
    gatherAtoms(graph, atoms, edges);
    const count = TABLE.count(atoms);
    if (count === known) return { atoms, edges };
    known = count;
  }
}

/** The same with the pairs of bonds: colours of bonds also hold what their pairs tell them. Refines `coloring` in place. */
export function refinePairs(graph: Edges, pairs: Pairs, { atoms, edges }: Coloring): void {
  for (let known = 0; ; ) {
    gatherEdges(pairs, edges);
    gatherAtoms(graph, atoms, edges);
    addEnds(graph, atoms, edges);
    const count = TABLE.count(edges);
    // Atoms are told apart by their edges, so they split no further than these do.
    if (count === known) return;
    known = count;
  }
}

/** An edge's colour from its ends and length. */
function colorEdges({ start, source, length }: Edges, atoms: Colors, edges: Colors): void {
  for (let i = 0; i + 1 < start.length; i++) {
    const [ownA, ownB] = [atoms.a[i], atoms.b[i]];
    for (let e = start[i]; e < start[i + 1]; e++) {
      const j = source[e];
      edges.a[e] = mix(mix(ownA, length[e]), atoms.a[j]);
      edges.b[e] = mix(mix(ownB, length[e]), atoms.b[j]);
    }
  }
}

/** An atom's colour from its own and those of the edges it receives. */
function gatherAtoms({ start }: Edges, atoms: Colors, edges: Colors): void {
  for (let i = 0; i + 1 < start.length; i++) {
    let a = 0;
    let b = 0;
    for (let e = start[i]; e < start[i + 1]; e++) {
      a = (a + edges.a[e]) | 0;
      b = (b + edges.b[e]) | 0;
    }
    atoms.a[i] = mix(atoms.a[i], a);
    atoms.b[i] = mix(atoms.b[i], b);
  }
}

/** An edge's colour from its own and those of its pairs, all from the colours before. */
function gatherEdges({ start, source, cosine }: Pairs, edges: Colors): void {
  const { a: oldA, b: oldB } = { a: edges.a.slice(), b: edges.b.slice() };
  for (let e = 0; e + 1 < start.length; e++) {
    let a = 0;
    let b = 0;
    for (let t = start[e]; t < start[e + 1]; t++) {
      const from = source[t];
      a = (a + mix(oldA[from], cosine[t])) | 0;
      b = (b + mix(oldB[from], cosine[t])) | 0;
    }
    edges.a[e] = mix(oldA[e], a);
    edges.b[e] = mix(oldB[e], b);
  }
}

function addEnds({ start, source }: Edges, atoms: Colors, edges: Colors): void {
  for (let i = 0; i + 1 < start.length; i++)
    for (let e = start[i]; e < start[i + 1]; e++) {
      const j = source[e];
      edges.a[e] = mix(mix(edges.a[e], atoms.a[i]), atoms.a[j]);
      edges.b[e] = mix(mix(edges.b[e], atoms.b[i]), atoms.b[j]);
    }
}

/** A 32-bit hash of two words, in which they are not alike: rounds of MurmurHash3's finalizer. */
function mix(own: number, other: number): number {
  let h = Math.imul(own, 0x9e3779b1) ^ Math.imul(other + 0x7f4a7c15, 0x85ebca6b);
  h ^= h >>> 15;
  h = Math.imul(h, 0xc2b2ae35);
  h ^= h >>> 13;
  h = Math.imul(h, 0x27d4eb2f);
  return h ^ (h >>> 16);
}

/** How many classes `classesOf` would give. */
export function countClasses(colors: Colors): number {
  return TABLE.count(colors);
}

/** The classes of equal colours, in order of appearance. */
export function classesOf({ a, b }: Colors): Classes {
  const of = new Int32Array(a.length);
  const first = new Int32Array(TABLE.count({ a, b }, of)).fill(-1);
  for (let row = 0; row < of.length; row++) if (first[of[row]] < 0) first[of[row]] = row;
  return { of, first };
}

/** The same in the order of their colours, which the crystal alone decides. */
export function orderedClassesOf(colors: Colors): Classes {
  const { of, first } = classesOf(colors);
  const ordered = first.slice().sort((p, q) => compareColors(colors, p, q));
  const rank = new Int32Array(ordered.length);
  for (let k = 0; k < ordered.length; k++) rank[of[ordered[k]]] = k;
  for (let row = 0; row < of.length; row++) of[row] = rank[of[row]];
  return { of, first: ordered };
}

/** An order of rows by their colours. */
export function compareColors({ a, b }: Colors, row: number, other: number): number {
  return a[row] - a[other] || b[row] - b[other];
}

const FIRST_COLORS = 64;
/** A table grown beyond so many colours is not kept. */
const KEPT_COLORS = 2 ** 16;

/** Counts and numbers colours: open addressing in a table twice as long as there are colours. */
class ColorTable {
  /** Number of the colour at a slot, from 1; 0 where there is none. */
  #slots = new Int32Array(2 * FIRST_COLORS);
  /** A row of each colour. */
  #rows = new Int32Array(FIRST_COLORS);

  /** How many colours there are; with `ids`, also the number of each row's, in order of appearance. */
  count(colors: Colors, ids?: Int32Array): number {
    const { a } = colors;
    let slots: Int32Array = this.#slots.fill(0);
    let count = 0;
    for (let row = 0; row < a.length; row++) {
      let at = find(slots, this.#rows, colors, row);
      if (slots[at] === 0) {
        if (count === this.#rows.length) {
          slots = this.#grow(colors);
          at = find(slots, this.#rows, colors, row);
        }
        this.#rows[count++] = row;
        slots[at] = count;
      }
      if (ids) ids[row] = slots[at] - 1;
    }
    if (count > KEPT_COLORS) {
      this.#slots = new Int32Array(2 * FIRST_COLORS);
      this.#rows = new Int32Array(FIRST_COLORS);
    }
    return count;
  }

  #grow(colors: Colors): Int32Array {
    const rows = this.#rows;
    this.#rows = new Int32Array(2 * rows.length);
    this.#rows.set(rows);
    this.#slots = new Int32Array(4 * rows.length);
    for (let k = 0; k < rows.length; k++) this.#slots[find(this.#slots, this.#rows, colors, rows[k])] = k + 1;
    return this.#slots;
  }
}

/** The slot where a row's colour is, or would be. */
function find(slots: Int32Array, rows: Int32Array, { a, b }: Colors, row: number): number {
  const mask = slots.length - 1;
  let at = a[row] & mask;
  while (slots[at] !== 0) {
    const known = rows[slots[at] - 1];
    if (a[known] === a[row] && b[known] === b[row]) break;
    at = (at + 1) & mask;
  }
  return at;
}

/** One for all calls: a small crystal is done before a new one would be made. */
const TABLE = new ColorTable();
