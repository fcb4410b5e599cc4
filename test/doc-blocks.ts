/** The fenced blocks of a Markdown page, and the links. */

export interface Block {
  /** Of its first line, from 1. */
  readonly line: number;
  readonly language: string;
  readonly text: string;
  /** The name in a first line that is nothing but a comment, `// predict.mjs`: the block is that file. */
  readonly file: string | undefined;
  /** Why it cannot be run, from a comment `<!-- not run: REASON -->` before it. */
  readonly notRun: string | undefined;
}

/** Other names of languages; without one a block is text. */
const ALIASES: Readonly<Record<string, string>> = { "": "text", bash: "sh", javascript: "js", python: "py" };
const FENCE = /^( *)```(\w*)[^\n]*\n([\s\S]*?)^\1```$/gm;
const NOT_RUN = /<!-- not run: ([^\n]+?) -->\s*$/;
const NAMED = /^(?:\/\/|#|<!--) ([\w.-]+\.\w+)(?: -->)?\n/;

export function blocksOf(page: string): Block[] {
  return [...page.matchAll(FENCE)].map((match) => {
    const before = page.slice(0, match.index);
    const [, indent, language, inner] = match;
    const text = inner.replaceAll(new RegExp(`^${indent}`, "gm"), "");
    return {
      line: before.split("\n").length,
      language: ALIASES[language] ?? language,
      text,
      file: NAMED.exec(text)?.[1],
      notRun: NOT_RUN.exec(before)?.[1],
    };
  });
}

/** Targets of links to files of the repository, outside blocks. */
export function linksOf(page: string): string[] {
  const prose = page.replace(FENCE, "").replace(/`[^`\n]*`/g, "");
  return [...prose.matchAll(/\]\(([^)\s]+)\)/g)].map(([, target]) => target).filter((target) => !/^\w+:/.test(target));
}

/** The names that GitHub gives to a page's headings. */
export function anchorsOf(page: string): Set<string> {
  const headings = [...page.replace(FENCE, "").matchAll(/^#+ (.+)$/gm)].map(([, text]) => text);
  return new Set(
    headings.map((text) =>
      text
        .toLowerCase()
        .replace(/[^\p{L}\p{N} _-]/gu, "")
        .replaceAll(" ", "-"),
    ),
  );
}

/**
 * Whether a `text` block is what was printed: its lines in a row, blank ones and space at the ends apart, where "..." stands
 * for any lines, within a line for any characters, and dates for any dates.
 * @returns the first line that is not there; undefined when all are
 */
export function missingLine(block: string, printed: string): string | undefined {
  const lines = (text: string) =>
    text
      .split("\n")
      .map((line) => line.replaceAll(/\d{4}-\d\d-\d\d \d\d:\d\d/g, "DATE").trimEnd())
      .filter((line) => line !== "");
  const found = lines(printed);
  let from = 0;
  for (const part of lines(block)
    .join("\n")
    .split(/^\.\.\.$/m)) {
    const wanted = lines(part);
    let at = from;
    while (at <= found.length - wanted.length && !wanted.every((line, i) => isLike(found[at + i], line))) at++;
    if (at > found.length - wanted.length)
      return wanted.find((line) => !found.slice(from).some((other) => isLike(other, line))) ?? wanted[0];
    from = at + wanted.length;
  }
  return undefined;
}

function isLike(found: string, wanted: string): boolean {
  let at = 0;
  const parts = wanted.split("...");
  for (const [i, part] of parts.entries()) {
    const next = i === 0 ? (found.startsWith(part) ? 0 : -1) : found.indexOf(part, at);
    if (next < 0) return false;
    at = next + part.length;
  }
  return at === found.length || parts.at(-1) === "";
}
