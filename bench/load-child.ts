/**
 * load-child.js FILE: loads one checkpoint in a fresh process; prints the number of tensors and the load's own ms, as
 * torch_files.py does.
 */
import { loadFile, tensorsOf } from "./torch-files.js";

const start = performance.now();
const value = await loadFile(process.argv[2]);
const ms = performance.now() - start;
console.log(tensorsOf(value).length, ms.toFixed(3));
