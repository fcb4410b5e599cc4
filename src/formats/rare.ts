/**
 * What reading a file that torch.save writes today does not need, in one piece: readers of other containers and of rarer
 * pickles, inflating, words on files that are none.
 */
export { Inflater } from "./inflate.js";
export { RARE } from "./rare-parts.js";
export { notTorch, notTorchZip } from "./sniff.js";
export { openBarePickle } from "./torch-bare.js";
export { openTorchLegacy } from "./torch-legacy.js";
export { openSafetensors } from "./torch-safetensors.js";
export { openTorchTar } from "./torch-tar.js";
