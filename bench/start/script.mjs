/** script.mjs SIDE FILE...: a cold start in a runtime that runs scripts. */
import { readFile } from "node:fs/promises";
import { timed } from "./timed.mjs";

const [side, ...files] = process.argv.slice(2);
const load = () => import(`./${side}.mjs`);
console.log(await timed(load, files, (file) => readFile(new URL(file, import.meta.url))));
