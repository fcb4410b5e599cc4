/** Every store that runs here keeps the contract; files also what only files have: links, other writers, 10,000 of them. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import { fsStore } from "../src/stores/fs.js";
import { memoryStore } from "../src/stores/memory.js";
import { storeContract } from "./store.contract.js";

const folder = mkdtempSync(join(tmpdir(), "unitcell-stores-"));
let made = 0;
const another = () => join(folder, `${++made}`, "made/with the first file");

for (const { name, run } of storeContract("memory", memoryStore)) test(name, run);
for (const { name, run } of storeContract("files", () => fsStore(another()))) test(name, run);

test.after(() => rmSync(folder, { recursive: true }));
test.run();
