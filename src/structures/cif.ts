/**
 * CIF text to data blocks.
 * Source: CIF 1.1 syntax, Hall, Allen & Brown, Acta Cryst. A47, 655 (1991), and International Tables G, section 2.2.
 * Tags are lower-cased and `.` in them is `_`, so that `_atom_site.fract_x` (CIF 2 dictionaries) is `_atom_site_fract_x`.
 */
import { UnitcellError } from "../errors.js";
import { located, quote } from "./lines.js";

/** The values of one tag: one outside a loop, one per row inside. `lines[i]` is where `values[i]` stands, from 1. */
export interface CifColumn {
  readonly values: string[];
  readonly lines: number[];
}

export interface CifBlock {
  /** As in `data_<name>`. */
  readonly name: string;
  readonly line: number;
  readonly columns: Map<string, CifColumn>;
}

/** A data item without a value: unknown `?` or not applicable `.`. */
export function isAbsent(value: string | undefined): value is undefined | "?" | "." {
  return value === undefined || value === "?" || value === ".";
}

/** How messages name a block. */
export function blockPlace(name: string, line: number): string {
  return `data_${name.slice(0, 40)} (line ${line})`;
}

/** One for the whole text: each token takes its predecessor's place. */
interface Token {
  kind: "value" | "tag" | "loop" | "data" | "end";
  /** The value, the normalized tag, or the block name. */
  text: string;
  line: number;
}

/** Position in the text; `line` counts from 1. */
interface Cursor {
  readonly text: string;
  at: number;
  line: number;
  /** The file declares CIF 2.0, whose lists, tables and triple quotes are not read. */
  readonly cif2: boolean;
  /** The token ahead, read when `peeked`. */
  readonly token: Token;
  peeked: boolean;
}

const NEWLINE = 10;
const SEMICOLON = 59;
const HASH = 35;
const UNDERSCORE = 95;

function corrupt(message: string, line: number): UnitcellError {
  return new UnitcellError("CORRUPT", `line ${line}: ${message}`, { line });
}

function isSpace(code: number): boolean {
  return code === 32 || code === 9 || code === NEWLINE;
}

function skipSpaceAndComments(c: Cursor): void {
  for (; c.at < c.text.length; c.at++) {
    const code = c.text.charCodeAt(c.at);
    if (code === NEWLINE) c.line++;
    else if (code === HASH) {
      const end = c.text.indexOf("\n", c.at);
      if (end < 0) c.at = c.text.length;
      else c.at = end - 1;
    } else if (!isSpace(code)) return;
  }
}

/** A `;` in the first column opens a text field, the next one in a first column closes it. */
function readTextField(c: Cursor): void {
  const { line } = c;
  const end = c.text.indexOf("\n;", c.at);
  if (end < 0) {
    c.at = c.text.length;
    throw corrupt('text field is never closed: expected a line that begins with ";"', line);
  }
  const text = c.text.slice(c.at + 1, end);
  for (let i = c.text.indexOf("\n", c.at); i >= 0 && i <= end; i = c.text.indexOf("\n", i + 1)) c.line++;
  c.at = end + 2;
  put(c, "value", text, line);
}

/** Only a quote before white space closes: 'a dog's life' is one value. */
function readQuoted(c: Cursor, mark: string): void {
  const lineEnd = c.text.indexOf("\n", c.at);
  const limit = lineEnd < 0 ? c.text.length : lineEnd;
  const start = c.at;
  c.at = limit; // where an error leaves it
  if (c.cif2 && c.text.startsWith(mark.repeat(3), start))
    throw new UnitcellError("UNSUPPORTED", `line ${c.line}: triple quotes of CIF 2.0 are not supported`, {
      line: c.line,
    });
  for (let end = c.text.indexOf(mark, start + 1); end >= 0 && end < limit; end = c.text.indexOf(mark, end + 1))
    if (end + 1 >= limit || isSpace(c.text.charCodeAt(end + 1))) {
      const text = c.text.slice(start + 1, end);
      c.at = end + 1;
      put(c, "value", text, c.line);
      return;
    }
  throw corrupt(`quoted value ${quote(c.text.slice(start, limit))} is not closed on its line`, c.line);
}

/** Keywords of STAR that CIF reserves, and structures of CIF 2.0. */
function refuse(word: string, c: Cursor): void {
  const lower = word.toLowerCase();
  const nested = c.cif2 && (word.startsWith("[") || word.startsWith("{"));
  if (!nested && lower !== "global_" && lower !== "stop_" && !lower.startsWith("save_")) return;
  const what = nested ? "lists and tables of CIF 2.0 are" : `${quote(word)} is`;
  throw new UnitcellError("UNSUPPORTED", `line ${c.line}: ${what} not supported in structure files`, { line: c.line });
}

function readWord(c: Cursor): void {
  const start = c.at;
  let at = start;
  let underscores = 0;
  for (; at < c.text.length; at++) {
    const code = c.text.charCodeAt(at);
    if (isSpace(code)) break;
    if (code === UNDERSCORE) underscores++;
  }
  c.at = at;
  const text = c.text.slice(start, at);
  // All tags and keywords hold an underscore; most values do not.
  if (underscores === 0 && !c.cif2) put(c, "value", text, c.line);
  else if (text.startsWith("_")) put(c, "tag", text.toLowerCase().replaceAll(".", "_"), c.line);
  else if (/^data_/i.test(text)) put(c, "data", text.slice(5), c.line);
  else if (/^loop_$/i.test(text)) put(c, "loop", text, c.line);
  else {
    refuse(text, c);
    put(c, "value", text, c.line);
  }
}

function readToken(c: Cursor): void {
  skipSpaceAndComments(c);
  const code = c.text.charCodeAt(c.at);
  if (c.at >= c.text.length) put(c, "end", "", c.line);
  else if (code === SEMICOLON && (c.at === 0 || c.text.charCodeAt(c.at - 1) === NEWLINE)) readTextField(c);
  else if (code === 39 || code === 34) readQuoted(c, String.fromCharCode(code));
  else readWord(c);
}

function put({ token }: Cursor, kind: Token["kind"], text: string, line: number): void {
  token.kind = kind;
  token.text = text;
  token.line = line;
}

/** The token ahead; what it says holds until the next one is read. */
function peek(c: Cursor): Token {
  if (!c.peeked) readToken(c);
  c.peeked = true;
  return c.token;
}

function next(c: Cursor): Token {
  peek(c);
  c.peeked = false;
  return c.token;
}

/** A tag may come once per block; a second time with the same values does no harm and is met in the wild. */
function addColumn(block: CifBlock, tag: string, column: CifColumn, line: number): void {
  const earlier = block.columns.get(tag);
  if (earlier && earlier.values.join("\n") !== column.values.join("\n"))
    throw corrupt(`${tag} is given twice with different values (first at line ${earlier.lines[0] ?? "?"})`, line);
  block.columns.set(tag, column);
}

function describe({ kind, text }: Token): string {
  return kind === "end" ? "the end of the file" : quote(text);
}

function readItem(c: Cursor, block: CifBlock): void {
  const { text: tag, line } = next(c);
  const value = peek(c);
  if (value.kind !== "value") throw corrupt(`expected a value for ${tag}, found ${describe(value)}`, value.line);
  next(c);
  addColumn(block, tag, { values: [value.text], lines: [value.line] }, line);
}

/** Rows may break anywhere; a loop ends at the next tag, keyword or the end. */
function readLoop(c: Cursor, block: CifBlock): void {
  const { line: first } = next(c);
  const tags: string[] = [];
  while (peek(c).kind === "tag") tags.push(next(c).text);
  if (tags.length === 0) throw corrupt(`expected tags after loop_, found ${describe(peek(c))}`, peek(c).line);
  const columns = tags.map((): CifColumn => ({ values: [], lines: [] }));
  let at = 0;
  let line = first;
  while (peek(c).kind === "value") {
    const value = next(c);
    const column = columns[at];
    column.values.push(value.text);
    column.lines.push(value.line);
    line = value.line;
    if (++at === columns.length) at = 0;
  }
  if (at !== 0) {
    const count = columns.reduce((sum, { values }) => sum + values.length, 0);
    throw corrupt(
      `loop of ${tags.length} columns (${tags[0]}, ... from line ${first}) has ${count} values: its last row is incomplete`,
      line,
    );
  }
  for (const [i, tag] of tags.entries()) addColumn(block, tag, columns[i], first);
}

function readBlock(c: Cursor): CifBlock {
  const { text: name, line } = next(c);
  const block: CifBlock = { name, line, columns: new Map() };
  for (;;) {
    const token = peek(c);
    if (token.kind === "tag") readItem(c, block);
    else if (token.kind === "loop") readLoop(c, block);
    else if (token.kind === "value") throw corrupt(`value ${quote(token.text)} belongs to no tag`, token.line);
    else return block;
  }
}

/** After an error to the next block or the end; what else is wrong on the way belongs to the block already reported. */
function skipToNextBlock(c: Cursor): void {
  for (;;)
    try {
      const { kind } = peek(c);
      if (kind === "data" || kind === "end") return;
      next(c);
    } catch (error) {
      // Every token that cannot be read has moved the cursor on, so this ends.
      if (!(error instanceof UnitcellError)) throw error;
    }
}

/**
 * Every data block of a CIF, in order; for a block that cannot be read, its error (with line number) in its place.
 * @param text with \n line ends (normalizeText)
 */
export function* readCifBlocks(text: string): Generator<CifBlock | UnitcellError> {
  const token: Token = { kind: "end", text: "", line: 1 };
  const c: Cursor = { text, at: 0, line: 1, cif2: text.startsWith("#\\#CIF_2"), token, peeked: false };
  for (;;) {
    let result: CifBlock | UnitcellError;
    try {
      const { kind, text: name, line } = peek(c);
      if (kind === "end") return;
      if (kind !== "data") throw corrupt(`expected a data_ block, found ${quote(name)}`, line);
      result = located(blockPlace(name, line), () => readBlock(c));
    } catch (error) {
      if (!(error instanceof UnitcellError)) throw error;
      result = error;
      skipToNextBlock(c);
    }
    yield result;
  }
}
