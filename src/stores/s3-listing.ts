/** One page of ListObjectsV2. */
import { UnitcellError } from "../errors.js";
import { childText, parseXml, type XmlElement } from "./s3-xml.js";

/** An object of a bucket; its name is the bucket's, with any prefix. */
export interface S3Object {
  readonly name: string;
  readonly size: number;
  readonly modified: Date;
  readonly etag: string;
}

export interface S3Page {
  readonly objects: readonly S3Object[];
  /** Where the next page begins; undefined: this is the last one. */
  readonly next: string | undefined;
}

/** @throws {UnitcellError} CORRUPT for what is no listing, or one with a field missing */
export function parsePage(xml: string): S3Page {
  const root = parseXml(xml);
  if (root.name !== "ListBucketResult")
    throw new UnitcellError("CORRUPT", `expected a <ListBucketResult>, found a <${root.name}>`);
  const encoding = childText(root, "EncodingType") || undefined;
  if (encoding !== undefined && encoding !== "url") throw wrong("EncodingType", "url", encoding);
  const truncated = childText(root, "IsTruncated");
  if (truncated !== "true" && truncated !== "false") throw wrong("IsTruncated", "true or false", truncated);
  const next = truncated === "true" ? childText(root, "NextContinuationToken") : undefined;
  if (truncated === "true" && !next) throw wrong("NextContinuationToken", "a token", next);
  const contents = root.children.filter(({ name }) => name === "Contents");
  return { objects: contents.map((element) => objectOf(element, encoding === "url")), next };
}

function objectOf(element: XmlElement, encoded: boolean): S3Object {
  const [key, size, date, etag] = ["Key", "Size", "LastModified", "ETag"].map((name) => childText(element, name));
  if (!key) throw wrong("Key", "a name", key);
  if (!size || !/^\d{1,15}$/.test(size)) throw wrong("Size", "a number of bytes", size);
  const modified = new Date(date && /^\d{4}-\d\d-\d\dT/.test(date) ? date : Number.NaN);
  if (Number.isNaN(modified.getTime())) throw wrong("LastModified", "a date", date);
  if (!etag) throw wrong("ETag", "a tag", etag);
  return { name: encoded ? decoded(key) : key, size: Number(size), modified, etag: etag.replace(/^"(.*)"$/, "$1") };
}

/** Names as forms encode them: AWS and others send "+" for a space. */
function decoded(key: string): string {
  try {
    return decodeURIComponent(key.replaceAll("+", " "));
  } catch {
    throw wrong("Key", "a name in URL encoding", key);
  }
}

function wrong(name: string, expected: string, found: string | undefined): UnitcellError {
  const shown = found === undefined ? "nothing" : JSON.stringify(found.slice(0, 100));
  return new UnitcellError("CORRUPT", `a listing's <${name}>: expected ${expected}, found ${shown}`);
}
