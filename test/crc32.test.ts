/** Every path of the CRC against known values and against the definition, a bit at a time. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { crc32, nativeCrc32, portableCrc32 } from "../src/formats/crc32.js";
import { seededRandom } from "../src/random.js";

type Crc32 = (bytes: Uint8Array, previous?: number) => number;

const native = nativeCrc32();
const paths: [name: string, crc: Crc32][] = [
  ["crc32", crc32],
  ["portable", portableCrc32],
];
if (native) paths.push(["native", (bytes, previous = 0) => native(bytes, previous)]);
else console.log("skipped: this runtime has no CRC-32 of its own");

/** Polynomial division, one bit after another: slow, and hard to get wrong. */
function bitwise(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes)
    for (let bit = 0; bit < 8; bit++) {
      const out = (crc ^ (byte >>> bit)) & 1;
      crc = out ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
    }
  return ~crc >>> 0;
}

const random = seededRandom(1);
const pool = Uint8Array.from({ length: 6000 }, () => random() * 256);

const vectors: [name: string, bytes: Uint8Array, expected: number][] = [
  ["nothing", new Uint8Array(0), 0],
  ["a", new TextEncoder().encode("a"), 0xe8b7be43],
  ["123456789", new TextEncoder().encode("123456789"), 0xcbf43926],
  ["the fox", new TextEncoder().encode("The quick brown fox jumps over the lazy dog"), 0x414fa339],
  ["32 zeros", new Uint8Array(32), 0x190a55ad],
  ["32 bytes of 255", new Uint8Array(32).fill(255), 0xff6cab0b],
  ["0 to 31", Uint8Array.from({ length: 32 }, (_, i) => i), 0x91267e8a],
];

for (const [path, crc] of paths) {
  for (const [name, bytes, expected] of vectors)
    test(`${path}: ${name}`, () => {
      assert.is(bitwise(bytes), expected);
      assert.is(crc(bytes), expected);
    });

  test(`${path}: 400 lengths up to 5000 at every alignment, whole and in two parts`, () => {
    for (let round = 0; round < 400; round++) {
      const length = round < 80 ? round : Math.floor(random() * 5001);
      const expected = bitwise(pool.subarray(0, length));
      const split = Math.floor(random() * (length + 1));
      for (let offset = 0; offset < 8; offset++) {
        const bytes = new Uint8Array(new ArrayBuffer(length + 16), offset, length);
        bytes.set(pool.subarray(0, length));
        assert.is(crc(bytes), expected, `${length} bytes at ${offset}`);
        assert.is(crc(bytes.subarray(split), crc(bytes.subarray(0, split))), expected, `split at ${split}`);
      }
    }
  });
}

test.run();
