/** Every store that runs here keeps the contract. */
import { test } from "uvu";
import { memoryStore } from "../src/stores/memory.js";
import { storeContract } from "./store.contract.js";

for (const { name, run } of storeContract("memory", memoryStore)) test(name, run);

test.run();
