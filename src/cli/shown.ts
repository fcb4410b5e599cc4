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
export function plural(count: number, noun: string, ending = "s"): string {
  return `${counted(count)} ${noun}${count === 1 ? "" : ending}`;
}

const UNITS = ["byte", "kB", "MB", "GB", "TB", "PB"];

/** Bytes as people read them, in powers of 1000: "999 bytes", "147 kB", "1.2 GB". */
export function sized(bytes: number): string {
  let [value, unit] = [bytes, 0];
  for (; value >= 999.5 && unit < UNITS.length - 1; unit++) value /= 1000;
  if (unit === 0) return plural(Math.round(bytes), "byte");
  return `${value < 9.95 ? value.toFixed(1) : Math.round(value)} ${UNITS[unit]}`;
}

/** By the clock on the wall: "2024-06-07 15:04". */
export function dated(date: Date): string {
  const two = (number: number) => String(number).padStart(2, "0");
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}`;
}

/** "4 min 42 s", "1 h 5 min". */
export function lasted(seconds: number): string {
  const [s, min, h] = [Math.round(seconds) % 60, Math.floor(Math.round(seconds) / 60) % 60, Math.floor(seconds / 3600)];
  if (h > 0) return min > 0 ? `${h} h ${min} min` : `${h} h`;
  if (min > 0) return s > 0 ? `${min} min ${s} s` : `${min} min`;
  return `${s} s`;
}

/** A number in few digits, for columns. */
export function brief(value: number | bigint | undefined): string {
  if (value === undefined) return "-";
  const number = Number(value);
  return Number.isInteger(number) && Math.abs(number) < 1e9 ? String(number) : String(Number(number.toPrecision(5)));
}

export interface Column {
  readonly title: string;
  readonly right?: boolean;
}

/** Characters of a line where it goes to a file or another program, and what a terminal may ask for. */
const WIDTH = 100;
const LEAST_WIDTH = 60;
const MOST_WIDTH = 160;

/** Characters of a line of text: those of the terminal, within reason. */
export function lineWidth(): number {
  const { isTTY, columns } = process.stdout;
  return isTTY && columns > 0 ? Math.min(Math.max(columns, LEAST_WIDTH), MOST_WIDTH) : WIDTH;
}

/**
 * Rows of cells in columns, two spaces in. A first cell that would push the line over the width stands on a line of its
 * own, whole, and so does a remark: the last cell of a column without a title.
 */
export function table(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  width: number = lineWidth(),
): string[] {
  const count = columns.at(-1)?.title === "" ? columns.length - 1 : columns.length;
  const widths = columns
    .slice(0, count)
    .map(({ title }, i) => rows.reduce((most, row) => Math.max(most, row[i].length), title.length));
  const rest = widths.slice(1).reduce((sum, width) => sum + width + 2, 2);
  widths[0] = Math.min(widths[0], Math.max(columns[0].title.length, width - rest));
  const cell = (text: string, i: number) => (columns[i].right ? text.padStart(widths[i]) : text.padEnd(widths[i]));
  const line = (cells: readonly string[]) => `  ${cells.slice(0, count).map(cell).join("  ")}`;
  const lines = [line(columns.map(({ title }) => title)).trimEnd()];
  for (const row of rows) {
    const isLong = row[0].length > widths[0];
    if (isLong) lines.push(`  ${row[0]}`);
    const cells = line(isLong ? ["", ...row.slice(1)] : row);
    const remark = row[count] ?? "";
    const fits = cells.length + 2 + remark.length <= width;
    if (remark && fits) lines.push(`${cells}  ${remark}`);
    else lines.push(cells.trimEnd(), ...(remark ? [`    ${remark}`] : []));
  }
  return lines;
}

/** "label       text", the text wrapped at spaces under itself. */
export function labelled(label: string, text: string): string[] {
  const indent = Math.max(12, label.length + 1);
  const width = lineWidth();
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line && indent + line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else line = line ? `${line} ${word}` : word;
  }
  lines.push(line);
  return lines.map((part, i) => (i === 0 ? label : "").padEnd(indent) + part);
}
