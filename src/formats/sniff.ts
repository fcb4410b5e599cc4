/** What a file is when it is not a torch checkpoint, in words that tell its owner what to do next. */
import { UnitcellError } from "../errors.js";

interface Kind {
  readonly hint: string;
  readonly what: string;
  matches(bytes: Uint8Array, text: string): boolean;
}

/** The first bytes, compared with a string of the same characters or with byte values. */
function starts(bytes: Uint8Array, start: string | readonly number[]): boolean {
  const codes = typeof start === "string" ? [...start].map((c) => c.charCodeAt(0)) : start;
  return bytes.length >= codes.length && codes.every((code, i) => bytes[i] === code);
}

/** Order matters: the first that matches is reported. */
const KINDS: readonly Kind[] = [
  { hint: "empty", what: "an empty file", matches: (bytes) => bytes.length === 0 },
  {
    hint: "git-lfs-pointer",
    what: "a git-lfs pointer, not the file it points to; fetch it with `git lfs pull`",
    matches: (_bytes, text) => text.startsWith("version https://git-lfs"),
  },
  {
    hint: "xet-pointer",
    what: "a pointer to a file in another store, not the file; download the file itself",
    matches: (_bytes, text) => text.startsWith("# xet version"),
  },
  { hint: "zip", what: "an empty zip archive", matches: (bytes) => starts(bytes, "PK\x05\x06") },
  { hint: "pytorch-preview", what: "a PyTorch 1.0 preview file", matches: (bytes) => starts(bytes, "PYTORCH1") },
  { hint: "gzip", what: "a gzip file; unpack it first", matches: (bytes) => starts(bytes, [0x1f, 0x8b]) },
  { hint: "7z", what: "a 7z archive; unpack it first", matches: (bytes) => starts(bytes, [0x37, 0x7a, 0xbc, 0xaf]) },
  {
    hint: "xz",
    what: "an xz file; unpack it first",
    matches: (bytes) => starts(bytes, [0xfd, 0x37, 0x7a, 0x58, 0x5a]),
  },
  { hint: "gguf", what: "a GGUF model", matches: (bytes) => starts(bytes, "GGUF") },
  { hint: "hdf5", what: "an HDF5 file (Keras .h5?)", matches: (bytes) => starts(bytes, "\x89HDF") },
  { hint: "png", what: "a PNG image", matches: (bytes) => starts(bytes, "\x89PNG") },
  { hint: "xml", what: "an XML text, perhaps a download error", matches: (_bytes, text) => /^\s*<\?xml/i.test(text) },
  { hint: "html", what: "a web page, perhaps a download error", matches: (_bytes, text) => /^\s*</.test(text) },
  { hint: "json", what: "a JSON text, perhaps a download error", matches: (_bytes, text) => /^\s*[{[]/.test(text) },
  {
    hint: "onnx",
    what: "an ONNX model",
    // ir_version, a small varint, then producer_name or the next field.
    matches: (bytes) => bytes[0] === 0x08 && bytes[1] < 32 && [0x12, 0x3a, 0x42].includes(bytes[2]),
  },
  { hint: "zeros", what: "all zeros, perhaps an unfinished download", matches: (bytes) => !bytes.some((b) => b !== 0) },
  { hint: "text", what: "a text file", matches: (_bytes, text) => /^[\t\r\n\x20-\x7e]+$/.test(text) },
];

/** The error for bytes that start like no torch container: UNSUPPORTED with detail.hint, CORRUPT when they are nothing known. */
export function notTorch(head: Uint8Array, size: number): UnitcellError {
  const text = new TextDecoder("latin1").decode(head);
  const kind = KINDS.find((candidate) => candidate.matches(head, text));
  if (kind)
    return new UnitcellError(
      kind.hint === "empty" || kind.hint === "zeros" ? "CORRUPT" : "UNSUPPORTED",
      `expected a torch checkpoint, found ${kind.what} (${size} bytes)`,
      { hint: kind.hint, size },
    );
  const start = [...head.subarray(0, 8)].map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
  return new UnitcellError("CORRUPT", `expected a torch checkpoint, found ${size} bytes that start with ${start}`, {
    size,
  });
}
