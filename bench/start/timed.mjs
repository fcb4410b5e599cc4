/** One cold start as JSON: ms from the start of the import to the first number, and the number. */
export async function timed(load, files, read) {
  const start = performance.now();
  const [{ first }, ...contents] = await Promise.all([load(), ...files.map(read)]);
  const value = await first(...contents);
  return JSON.stringify({ ms: performance.now() - start, value });
}
