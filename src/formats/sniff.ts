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

/** True for a tar header block: the octal checksum at 148 is the sum of its bytes with the checksum blanked. */
function isTar(bytes: Uint8Array): boolean {
  if (bytes.length < 512) return false;
  const stated = /^[ 0]*([0-7]+)/.exec(String.fromCharCode(...bytes.subarray(148, 156)));
  let sum = 8 * 32;
  for (let i = 0; i < 512; i++) if (i < 148 || i >= 156) sum += bytes[i];
  return stated !== null && Number.parseInt(stated[1], 8) === sum;
}

/** u64 header length, then a JSON object. */
function isSafetensors(bytes: Uint8Array): boolean {
  return bytes.length > 9 && bytes[8] === 0x7b && bytes[5] === 0 && bytes[6] === 0 && bytes[7] === 0;
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
  { hint: "safetensors", what: "a safetensors file", matches: isSafetensors },
  { hint: "tar", what: "a tar file, as torch wrote before 0.1.10", matches: isTar },
  { hint: "xml", what: "an XML text, perhaps a download error", matches: (_bytes, text) => /^\s*<\?xml/i.test(text) },
  { hint: "html", what: "a web page, perhaps a download error", matches: (_bytes, text) => /^\s*</.test(text) },
  { hint: "json", what: "a JSON text, perhaps a download error", matches: (_bytes, text) => /^\s*[{[]/.test(text) },
  {
    hint: "pickle",
    what: "a Python pickle without torch's header",
    matches: (bytes) => bytes[0] === 0x80 && bytes[1] <= 5,
  },
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
export function notTorch(bytes: Uint8Array): UnitcellError {
  const text = new TextDecoder("latin1").decode(bytes.subarray(0, 512));
  const kind = KINDS.find((candidate) => candidate.matches(bytes, text));
  const size = bytes.length;
  if (kind)
    return new UnitcellError(
      kind.hint === "empty" || kind.hint === "zeros" ? "CORRUPT" : "UNSUPPORTED",
      `expected a torch checkpoint, found ${kind.what} (${size} bytes)`,
      { hint: kind.hint, size },
    );
  const head = [...bytes.subarray(0, 8)].map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
  return new UnitcellError("CORRUPT", `expected a torch checkpoint, found ${size} bytes that start with ${head}`, {
    size,
  });
}
