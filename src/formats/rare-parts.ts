/** What torchContext takes for pickles of every kind. */
import { rareClasses } from "./rare-classes.js";
import { RARE_OPCODES } from "./rare-opcodes.js";
import type { Rare } from "./torch-globals.js";

export const RARE: Rare = { opcodes: RARE_OPCODES, classes: rareClasses };
