/** The entry unitcell/fs: files and folders of Node, Deno and Bun. */
export { type FileSink, type FileSource, fileSink, fileSource, type SinkOptions } from "./files.js";
export { fsStore } from "./fs-store.js";
