/**
 * What reading a file that torch.save writes today does not need, in one piece: readers of other containers and of rarer
 * pickles, inflating, words on files that are none, checkpoints of several files.
 */
export { openFiles } from "./checkpoint/files.js";
export { withMetadata } from "./checkpoint/metadata.js";
export { openZipFiles } from "./checkpoint/zip-files.js";
export { Inflater } from "./formats/inflate.js";
export { RARE } from "./formats/rare-parts.js";
export { notTorch, notTorchZip } from "./formats/sniff.js";
export { openBarePickle } from "./formats/torch-bare.js";
export { openTorchLegacy } from "./formats/torch-legacy.js";
export { openSafetensors } from "./formats/torch-safetensors.js";
export { openTorchTar } from "./formats/torch-tar.js";
