/** a b + c in whole numbers, rounded once by the conversion of a BigInt: the independent answer for fma of double-double.ts. */

/** x = mantissa 2^exponent, exactly. */
function parts(x: number): [mantissa: bigint, exponent: number] {
  const bits = new BigUint64Array(Float64Array.of(x).buffer)[0];
  const biased = Number((bits >> 52n) & 0x7ffn);
  const fraction = bits & 0xfffffffffffffn;
  const mantissa = biased === 0 ? fraction : fraction | (1n << 52n);
  return [bits >> 63n ? -mantissa : mantissa, Math.max(biased, 1) - 1075];
}

export function exactFma(a: number, b: number, c: number): number {
  const [ma, ea] = parts(a);
  const [mb, eb] = parts(b);
  const [mc, ec] = parts(c);
  // Zeros have the least exponent there is, and would make the others too long.
  if (ma * mb === 0n || mc === 0n) return a * b + c;
  const least = Math.min(ea + eb, ec);
  const whole = ((ma * mb) << BigInt(ea + eb - least)) + (mc << BigInt(ec - least));
  // A whole number of more than 1,023 bits is none of a double's: what lies far below the result only says where to round.
  const spare = Math.max(0, whole.toString(16).length * 4 - 200);
  if (spare > 0) {
    const kept = whole >> BigInt(spare);
    const rest = kept << BigInt(spare) === whole ? 0n : 1n;
    return scaled(kept | rest, least + spare);
  }
  return scaled(whole, least);
}

function scaled(whole: bigint, least: number): number {
  // Twice: one factor alone may lie below the smallest number.
  const half = Math.trunc(least / 2);
  return Number(whole) * 2 ** half * 2 ** (least - half);
}
