/** Text from files on its way to a terminal, and numbers and tables as people read them. */

/** Characters of one text from a file that are shown. */
const MOST_CHARACTERS = 200;

/**
 * Text of a file that can stand in a line: everything but printable ASCII is escaped, so that nothing moves the cursor,
 * turns the direction of the line or looks like another letter.
 */
export function escaped(text: string, most = MOST_CHARACTERS): string {
  const start = text.slice(0, most);
  const plain = start.replace(/[^\x20-\x7e]/gu, (c) => `\\u{${c.codePointAt(0)!.toString(16)}}`);
  return text.length > most ? `${plain}...` : plain;
}

/** A name: bare when it is plain, else quoted. */
export function shownName(name: string): string {
  return /^[\w.:/()+-]+$/.test(name) && name.length <= MOST_CHARACTERS ? name : quotedText(name);
}

/** Text in quotes. */
export function quotedText(text: string, most = MOST_CHARACTERS): string {
  return `"${escaped(text, most).replace(/["\\]/g, (c) => (c === '"' ? '\\"' : c))}"`;
}

/**
 * A message in one line. It may quote a file or the command line, so what could act on a terminal is escaped; letters
 * of any script stay.
 */
export function oneLine(message: string): string {
  return message.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (c) => `\\u{${c.codePointAt(0)!.toString(16)}}`);
}

/** JSON in ASCII. Numbers that JSON lacks are strings: "NaN", "Infinity", "-Infinity", and integers beyond 2^53. */
export function toJson(value: unknown): string {
  const plain = (_key: string, item: unknown) => {
    if (typeof item === "bigint" || (typeof item === "number" && !Number.isFinite(item))) return String(item);
    if (item instanceof Map) return [...item];
    return item;
  };
  const ascii = JSON.stringify(value, plain, 2).replace(
    /[^\n\x20-\x7e]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
  return `${ascii}\n`;
}

/** 1234567 as 1,234,567. */
export function counted(count: number): string {
  return String(count).replace(/\B(?=(\d{3})+$)/g, ",");
}

/** "1 tensor", "2 tensors". */
export function plural(count: number, noun: string): string {
  return `${counted(count)} ${noun}${count === 1 ? "" : "s"}`;
}

/** A number in few digits, for columns. */
export function brief(value: number | bigint | undefined): string {
  if (value === undefined) return "-";
  if (typeof value === "bigint" || Number.isInteger(value)) return String(value);
  return String(Number(value.toPrecision(5)));
}

export interface Column {
  readonly title: string;
  readonly right?: boolean;
}

/** Widest name that shares a line with the other columns: a hundred columns in all. */
const WIDTH = 100;
const LEAST_NAME = 24;

/**
 * Rows of cells in columns, two spaces in. A first cell that would push the line over the width stands on a line of its
 * own, whole.
 */
export function table(columns: readonly Column[], rows: readonly (readonly string[])[]): string[] {
  const width = (i: number) => rows.reduce((most, row) => Math.max(most, row[i].length), columns[i].title.length);
  const widths = columns.map((_, i) => width(i));
  const rest = widths.slice(1).reduce((sum, w) => sum + w + 2, 2);
  widths[0] = Math.min(widths[0], Math.max(LEAST_NAME, WIDTH - rest));
  const cell = (text: string, i: number) => (columns[i].right ? text.padStart(widths[i]) : text.padEnd(widths[i]));
  const line = (cells: readonly string[]) => `  ${cells.map(cell).join("  ")}`.trimEnd();
  const lines = [line(columns.map(({ title }) => title))];
  for (const row of rows)
    if (row[0].length <= widths[0]) lines.push(line(row));
    else lines.push(`  ${row[0]}`, line(["", ...row.slice(1)]));
  return lines;
}

/** "label       text", the text wrapped at spaces under itself. */
export function labelled(label: string, text: string): string[] {
  const indent = Math.max(12, label.length + 1);
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line && indent + line.length + 1 + word.length > WIDTH) {
      lines.push(line);
      line = word;
    } else line = line ? `${line} ${word}` : word;
  }
  lines.push(line);
  return lines.map((part, i) => (i === 0 ? label : "").padEnd(indent) + part);
}
