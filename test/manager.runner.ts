/** The run of manager.flow.ts over files, without a test runner: manager-stores.test.ts has it in Deno, Bun and the newest Node. */
import { argv } from "node:process";
import { fsStore } from "../src/stores/fs.js";
import { wholeRun } from "./manager.flow.js";

await wholeRun(fsStore(argv[2]));
console.log("done");
