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

const WEB_ERROR = "perhaps a download error";

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
  { hint: "bzip2", what: "a bzip2 file; unpack it first", matches: (bytes) => starts(bytes, "BZh") },
  { hint: "zstd", what: "a zstd file; unpack it first", matches: (bytes) => starts(bytes, [0x28, 0xb5, 0x2f, 0xfd]) },
  { hint: "rar", what: "a RAR archive; unpack it first", matches: (bytes) => starts(bytes, "Rar!") },
  { hint: "gguf", what: "a GGUF model", matches: (bytes) => starts(bytes, "GGUF") },
  { hint: "hdf5", what: "an HDF5 file (Keras .h5?)", matches: (bytes) => starts(bytes, "\x89HDF") },
  { hint: "tflite", what: "a TensorFlow Lite model", matches: (bytes) => starts(bytes.subarray(4), "TFL3") },
  { hint: "npy", what: "a numpy array (.npy)", matches: (bytes) => starts(bytes, "\x93NUMPY") },
  { hint: "png", what: "a PNG image", matches: (bytes) => starts(bytes, "\x89PNG") },
  { hint: "pdf", what: "a PDF document", matches: (bytes) => starts(bytes, "%PDF") },
  { hint: "xml", what: `an XML text, ${WEB_ERROR}`, matches: (_bytes, text) => /^\s*<\?xml/i.test(text) },
  { hint: "html", what: `a web page, ${WEB_ERROR}`, matches: (_bytes, text) => /^\s*</.test(text) },
  { hint: "json", what: `a JSON text, ${WEB_ERROR}`, matches: (_bytes, text) => /^\s*[{[]/.test(text) },
  {
    hint: "onnx",
    what: "an ONNX model",
    // ir_version, a small varint, then producer_name or the next field.
    matches: (bytes) => bytes[0] === 0x08 && bytes[1] < 32 && [0x12, 0x3a, 0x42].includes(bytes[2]),
  },
  { hint: "zeros", what: "all zeros, perhaps an unfinished download", matches: (bytes) => !bytes.some((b) => b !== 0) },
  // Text in any language; only its last character may be cut.
  {
    hint: "text",
    what: "a text file",
    matches: (_bytes, text) => /^(?:[^\p{Cc}\ufffd]|[\t\n\f\r])+\ufffd?$/u.test(text),
  },
];

/** Zips that are something else, by an entry that torch.save never writes. */
const ZIP_KINDS: readonly [entry: RegExp, hint: string, what: string][] = [
  [/(^|\/)\.data\/extern_modules$/, "torch.package", "a torch.package archive"],
  [/(^|\/)archive_format$/, "pt2", "a torch.export archive (.pt2)"],
  [/^MAR-INF\//, "mar", "a TorchServe archive (.mar); unpack it and take the .pt inside"],
  [/^[^/]+\.npy$/, "npz", "a numpy .npz file"],
  [/^model\.weights\.h5$/, "keras", "a Keras model (.keras)"],
  [/^\[Content_Types\]\.xml$/, "zip", "an office document"],
  [
    /(^|\/)data\.pkl$/,
    "zip",
    "a torch checkpoint that was unpacked and packed again; the folder with data.pkl must lie at its top",
  ],
  [
    /\.(pt|pth|ckpt|bin|pkl|tar|safetensors)$/i,
    "zip",
    "an archive of other files; unpack it and open the one you need",
  ],
  [/^[^/]+\/version$/, "unfinished", "a file that torch.save began and did not finish"],
];

/** The error for a zip without <folder>/data.pkl: UNSUPPORTED with detail.hint. */
export function notTorchZip(names: readonly string[]): UnitcellError {
  const entries = names.slice(0, 20);
  const missing = `there is no <folder>/data.pkl among ${names.slice(0, 3).join(", ")}${names.length > 3 ? ", ..." : ""}`;
  for (const [entry, hint, what] of ZIP_KINDS)
    if (names.some((name) => entry.test(name)))
      return new UnitcellError("UNSUPPORTED", `expected a torch checkpoint, found ${what}: ${missing}`, {
        hint,
        entries,
      });
  return new UnitcellError("UNSUPPORTED", `this zip is not a torch checkpoint: ${missing}`, { hint: "zip", entries });
}

/** The error for bytes that start like no torch container: UNSUPPORTED with detail.hint, CORRUPT when they are nothing known. */
export function notTorch(head: Uint8Array, size: number): UnitcellError {
  const text = new TextDecoder().decode(head);
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
