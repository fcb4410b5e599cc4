/**
 * Just enough XML for what S3 answers: elements, text, the five entities and character numbers. Edge functions have no
 * DOMParser. Everything else (document types, comments, sections) is refused: it does not occur, and is where parsers get hurt.
 */
import { UnitcellError } from "../errors.js";

export interface XmlElement {
  readonly name: string;
  /** What stands in it, of an element without elements in it. */
  text: string;
  readonly children: XmlElement[];
}

/** S3's answers have 4. */
const DEPTH = 16;
/** A page of 1000 files with three-byte characters in the longest keys has 10 MB. */
export const XML_BYTES = 16 * 2 ** 20;

const DECLARATION = /^\ufeff?\s*(?:<\?xml [^<>?]{0,200}\?>)?\s*/;
const TAG = /<(\/?)([A-Za-z_][\w.:-]*)((?:\s+[A-Za-z_][\w.:-]*=(?:"[^"<]*"|'[^'<]*'))*)\s*(\/?)>/y;
const ENTITIES: Readonly<Record<string, string>> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'" };

/** The root element. @throws {UnitcellError} CORRUPT for what is none, with the place; LIMIT beyond 16 levels */
export function parseXml(xml: string): XmlElement {
  const wrong = (what: string, at: number) =>
    new UnitcellError("CORRUPT", `expected the XML of an S3 server, found ${what} at character ${at}`, { offset: at });
  const document: XmlElement = { name: "", text: "", children: [] };
  const open = [document];
  for (let at = DECLARATION.exec(xml)?.[0].length ?? 0; at < xml.length; ) {
    const next = xml.indexOf("<", at);
    const text = xml.slice(at, next < 0 ? xml.length : next);
    const inside = open[open.length - 1];
    if (inside !== document && inside.children.length === 0) inside.text += textOf(text, () => wrong("a bare &", at));
    else if (text.trim() !== "") throw wrong("text between elements", at);
    if (next < 0) break;
    TAG.lastIndex = next;
    const tag = TAG.exec(xml);
    if (!tag) throw wrong(JSON.stringify(xml.slice(next, next + 40)), next);
    const [all, closing, name, attributes, empty] = tag;
    at = next + all.length;
    if (closing) {
      if (attributes || empty || inside.name !== name || inside === document) throw wrong(`the end of <${name}>`, next);
      open.pop();
      continue;
    }
    if (inside === document && document.children.length > 0) throw wrong("a second root", next);
    if (inside.text.trim() !== "") throw wrong("an element in text", next);
    const element: XmlElement = { name, text: "", children: [] };
    inside.text = "";
    inside.children.push(element);
    if (empty) continue;
    if (open.push(element) > DEPTH) throw new UnitcellError("LIMIT", `XML of more than ${DEPTH} levels`);
  }
  if (open.length > 1) throw wrong(`no end of <${open[open.length - 1].name}>`, xml.length);
  if (document.children.length === 0) throw wrong("no element", xml.length);
  return document.children[0];
}

function textOf(text: string, wrong: () => UnitcellError): string {
  return text.replace(/&(?:#x([\da-fA-F]{1,6});|#(\d{1,7});|([a-z]{1,4});)?/g, (_, hex, decimal, name) => {
    const code = hex ? Number.parseInt(hex, 16) : decimal ? Number(decimal) : undefined;
    if (code !== undefined && code > 0 && code <= 0x10ffff) return String.fromCodePoint(code);
    if (name === undefined || !Object.hasOwn(ENTITIES, name)) throw wrong();
    return ENTITIES[name];
  });
}

/** The text of an element's one child of that name; undefined where there is none. @throws {UnitcellError} CORRUPT for two */
export function childText({ name: parent, children }: XmlElement, name: string): string | undefined {
  const found = children.filter((child) => child.name === name);
  if (found.length > 1)
    throw new UnitcellError("CORRUPT", `expected one <${name}> in <${parent}>, found ${found.length}`);
  return found[0]?.text;
}

/** The words of an answer. @throws {UnitcellError} LIMIT above 16 MiB, and what the transfer throws */
export async function bodyText(response: Response): Promise<string> {
  const reader = response.body?.getReader();
  const decoder = new TextDecoder();
  let text = "";
  for (let size = 0; reader; ) {
    const { done, value } = await reader.read();
    if (done) break;
    size += value.byteLength;
    if (size > XML_BYTES) {
      reader.cancel().catch(() => {});
      throw new UnitcellError("LIMIT", `an answer of more than ${XML_BYTES} bytes of XML`, { limit: XML_BYTES });
    }
    text += decoder.decode(value, { stream: true });
  }
  return text + decoder.decode();
}
