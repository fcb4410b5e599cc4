import { parseArgs } from "node:util";

/** The command line itself is wrong: exit code 2. */
export class UsageError extends Error {}

type Config = NonNullable<Parameters<typeof parseArgs>[0]>;

/** parseArgs of node:util, its complaints as UsageErrors. */
export function parseOptions<T extends Config>(config: T): ReturnType<typeof parseArgs<T>> {
  try {
    return parseArgs<T>(config);
  } catch (error) {
    if (error instanceof TypeError && "code" in error && String(error.code).startsWith("ERR_PARSE_ARGS")) {
      const [what, ...advice] = error.message.split(/[.?]\s+/);
      // What a value like -1,2 needs is in the last of three sentences.
      const how = what.endsWith("ambiguous") ? `: ${advice.at(-1)?.replace(/\.$/, "")}` : "";
      throw new UsageError(`${what}${how}; see --help`);
    }
    throw error;
  }
}
