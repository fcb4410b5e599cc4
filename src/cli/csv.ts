/** A line of RFC 4180: cells quoted where they hold a comma, quote or line break; nothing for undefined. */
export function csvLine(cells: readonly (string | number | boolean | undefined)[]): string {
  const quote = (cell: string) => (/[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);
  return `${cells.map((cell) => quote(String(cell ?? ""))).join(",")}\n`;
}
