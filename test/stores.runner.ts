/** The contract over files and memory without a test runner, for stores.test.ts to run in Deno, Bun and the newest Node. */
import { mkdirSync } from "node:fs";
import { argv, exit, pid } from "node:process";
import { fsStore } from "../src/stores/fs.js";
import { memoryStore } from "../src/stores/memory.js";
import { runCases, storeContract } from "./store.contract.js";

const [folder, other] = argv.slice(2);
let made = 0;
mkdirSync(folder, { recursive: true });
const { passed, failed } = await runCases([
  ...storeContract("files", () => fsStore(`${folder}/${++made}/made with the first file`)),
  ...storeContract("memory", memoryStore),
]);
const store = fsStore(folder);
// What this runtime is allowed to know: of itself, of a process that lives (ours) and of one that does not.
const self = store.liveness!.self;
const alive = await Promise.all([self, other, self.replace(`-${pid}-`, "-999999999-")].map(store.liveness!.isAlive));
console.log(JSON.stringify({ passed, failed, alive }));
exit(0);
