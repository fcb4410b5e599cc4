/** A hash of weights that does not depend on the file they are in. */
import { createHash } from "node:crypto";
import { type Tensor, TORCH_DTYPES } from "../tensor.js";

/**
 * SHA-256 over one line of text for each tensor, sorted by name as UTF-8 bytes: the SHA-256 of its dense row-major
 * little-endian bytes in hex ("-" on the meta device), torch's name of its dtype, its shape, its name as JSON:
 *
 *     <64 hex digits> float32 [64,92] "embedding.weight"
 *
 * each ending in a newline. Order in the file, strides, sharing, container and compression do not matter.
 */
export class ContentHash {
  private readonly lines: { readonly name: Buffer; readonly line: string }[] = [];

  add(name: string, { dtype, shape }: Tensor, sha256: string): void {
    this.lines.push({
      name: Buffer.from(name),
      line: `${sha256} ${TORCH_DTYPES[dtype]} [${shape}] ${JSON.stringify(name)}\n`,
    });
  }

  digest(): string {
    const hash = createHash("sha256");
    this.lines.sort((a, b) => Buffer.compare(a.name, b.name) || (a.line < b.line ? -1 : 1));
    for (const { line } of this.lines) hash.update(line);
    return hash.digest("hex");
  }
}
