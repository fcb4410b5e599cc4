import { parseArgs } from "node:util";

/** The command line itself is wrong: exit code 2. */
export class UsageError extends Error {}

type Config = NonNullable<Parameters<typeof parseArgs>[0]>;

/** parseArgs of node:util, its complaints as UsageErrors. */
export function parseOptions<T extends Config>(config: T): ReturnType<typeof parseArgs<T>> {
  try {
    return parseArgs<T>(config);
  } catch (error) {
    if (error instanceof TypeError && "code" in error && String(error.code).startsWith("ERR_PARSE_ARGS"))
      throw new UsageError(`${error.message.split(". ")[0]}; see --help`);
    throw error;
  }
}
