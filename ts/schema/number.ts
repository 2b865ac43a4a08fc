const UINT64_MAX = 2n ** 64n - 1n
const INT64_MAX = 2n ** 63n - 1n
const INT64_MIN = -(2n ** 63n)

/** The largest value of a `uint32_t` property. */
export const UINT32_MAX = 0xffff_ffff

/**
 * Reads an integer as C's `strtoull` with base 0 does, which QEMU uses for properties: leading
 * white space, a sign, `0x` for hexadecimal, a leading 0 for octal. Characters after the digits,
 * suffixes included, are refused.
 */
function parseInteger(text: string): bigint | undefined {
  const parts = /^[ \t\n\v\f\r]*([+-]?)(?:0[xX]([0-9a-fA-F]+)|(0[0-7]*)|([1-9][0-9]*))$/.exec(text)
  if (parts === null) return undefined
  const [, sign, hex, octal, decimal] = parts
  const magnitude =
    hex !== undefined ? BigInt(`0x${hex}`) : octal !== undefined ? BigInt(`0o${octal}`) : BigInt(decimal ?? 0)
  return sign === '-' ? -magnitude : magnitude
}

/**
 * Returns the value of a `uint32_t` property, or the type in whose conversion it fails. QEMU first
 * reads 64 bits and then narrows: `12k` is not a `uint64`, and `4294967296` is not a `uint32_t`.
 */
export function parseUint32(text: string): number | 'uint64' | 'uint32_t' {
  const value = parseInteger(text)
  if (value === undefined || value > UINT64_MAX || value < -UINT64_MAX) return 'uint64'
  return value < 0n || value > UINT32_MAX ? 'uint32_t' : Number(value)
}

/** Returns the value of an `int64` property; undefined if it is invalid. */
export function parseInt64(text: string): bigint | undefined {
  const value = parseInteger(text)
  return value === undefined || value > INT64_MAX || value < INT64_MIN ? undefined : value
}
