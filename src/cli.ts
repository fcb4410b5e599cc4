#!/usr/bin/env node
/** The `unitcell` command: picks the verb, turns errors into messages and exit codes. */
import { readFileSync } from "node:fs";
import { CONVERT_HELP, convertCommand } from "./cli/convert.js";
import { DIFF_HELP, diffCommand } from "./cli/diff.js";
import { DU_HELP, duCommand } from "./cli/du.js";
import { EMBED_HELP, embedCommand } from "./cli/embed.js";
import { GRAPH_HELP, graphCommand } from "./cli/graph.js";
import { HISTORY_HELP, historyCommand } from "./cli/history.js";
import { INSPECT_HELP, inspectCommand } from "./cli/inspect.js";
import { LS_HELP, lsCommand } from "./cli/ls.js";
import { PIN_HELP, pinCommand } from "./cli/pin.js";
import { PREDICT_HELP, predictCommand } from "./cli/predict.js";
import { PRUNE_HELP, pruneCommand } from "./cli/prune.js";
import { RESUME_INFO_HELP, resumeInfoCommand } from "./cli/resume-info.js";
import { oneLine } from "./cli/shown.js";
import { SLIM_HELP, slimCommand } from "./cli/slim.js";
import { UNDO_HELP, undoCommand } from "./cli/undo.js";
import { UsageError } from "./cli/usage.js";
import { VERIFY_HELP, verifyCommand } from "./cli/verify.js";
import { UnitcellError } from "./errors.js";

/** Exit codes; 130 is the shell's for a command ended by Ctrl-C. */
const DONE = 0;
const FAILED = 1;
const USAGE = 2;

const HELP = `unitcell: crystal-graph networks without Python

Usage: unitcell <command> [options]

Crystals:
  predict      properties of crystal structures, from a PyTorch checkpoint
  embed        crystals and atoms as vectors; each atom's share of a prediction
  graph        crystals as the inputs of a network that convert wrote as .onnx

A checkpoint:
  inspect      what it holds: values, tensors, names of code
  verify       whether it is undamaged; NaN and infinities; hashes; of a folder each
  convert      as .pt or .safetensors, cast, stripped, renamed; its network as .onnx
  diff         where two differ, and by how much
  slim         for deployment: no optimizer, half precision, small weights zero; the change measured

A folder of checkpoints, as saved_models:
  ls           the checkpoints by run, with epochs and metrics
  du           what they take, by run and tag; duplicates; what pruning would free
  history      how the runs went: best epochs, curves of losses
  resume-info  latest, best and final of each run, and how to go on from them
  prune        removes what a policy does not keep; shows it first
  undo         brings removed files back
  pin          keeps a checkpoint from every policy

Options:
  -h, --help      this text; after a command, that command's
  -V, --version   the version

Exit codes: 0 done, 1 something failed, 2 wrong usage, 130 stopped by Ctrl-C
`;

const COMMANDS: ReadonlyMap<string, { help: string; run: (args: string[]) => Promise<number> }> = new Map([
  ["predict", { help: PREDICT_HELP, run: predictCommand }],
  ["embed", { help: EMBED_HELP, run: embedCommand }],
  ["graph", { help: GRAPH_HELP, run: graphCommand }],
  ["inspect", { help: INSPECT_HELP, run: inspectCommand }],
  ["verify", { help: VERIFY_HELP, run: verifyCommand }],
  ["convert", { help: CONVERT_HELP, run: convertCommand }],
  ["diff", { help: DIFF_HELP, run: diffCommand }],
  ["slim", { help: SLIM_HELP, run: slimCommand }],
  ["ls", { help: LS_HELP, run: lsCommand }],
  ["du", { help: DU_HELP, run: duCommand }],
  ["history", { help: HISTORY_HELP, run: historyCommand }],
  ["resume-info", { help: RESUME_INFO_HELP, run: resumeInfoCommand }],
  ["prune", { help: PRUNE_HELP, run: pruneCommand }],
  ["undo", { help: UNDO_HELP, run: undoCommand }],
  ["pin", { help: PIN_HELP, run: pinCommand }],
]);

async function main(args: string[]): Promise<number> {
  const [verb, ...rest] = args;
  if (verb === undefined || verb === "-h" || verb === "--help" || verb === "help") {
    process.stdout.write(COMMANDS.get(rest[0])?.help ?? HELP);
    return verb === undefined ? USAGE : DONE;
  }
  if (verb === "-V" || verb === "--version") {
    process.stdout.write(`${version()}\n`);
    return DONE;
  }
  const command = COMMANDS.get(verb);
  if (command) return command.run(rest);
  throw new UsageError(`there is no command "${verb}"; see unitcell --help`);
}

function version(): string {
  const { version } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));
  return version;
}

// A reader that has seen enough (`unitcell ... | head`) is no failure; a full disk is.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(DONE);
  process.stderr.write(`unitcell: cannot write the output: ${error.message}\n`);
  process.exit(FAILED);
});
// Results go on where notes and progress cannot be shown.
process.stderr.on("error", () => {});

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  if (error instanceof UsageError) {
    process.stderr.write(`unitcell: ${oneLine(error.message)}\n`);
    process.exitCode = USAGE;
  } else if (error instanceof UnitcellError) {
    process.stderr.write(`unitcell: ${error.code}: ${oneLine(error.message)}\n`);
    process.exitCode = FAILED;
  } else if (error instanceof Error && "syscall" in error) {
    // A name that the file system refuses, a folder that may not be looked into.
    process.stderr.write(`unitcell: ${oneLine(error.message)}\n`);
    process.exitCode = FAILED;
  } else throw error;
}
