const UINT64_MAX = 2n ** 64n - 1n
const INT64_MAX = 2n ** 63n - 1n
const INT64_MIN = -(2n ** 63n)

/** The largest value of a `uint32_t` property. */
export const UINT32_MAX = 0xffff_ffff

/**
 * Reads an integer as C's `strtoull` with base 0 does, which is what QEMU reads properties with: leading white space,
 * a sign, `0x` for hexadecimal, a leading 0 for octal. Anything behind the digits, a suffix included, is refused.
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
 * A `uint32_t` property's value, or the type that it fails as: QEMU reads 64 bits first and then narrows, so `12k` is
 * no `uint64` and `4294967296` is no `uint32_t`.
 */
export function parseUint32(text: string): number | 'uint64' | 'uint32_t' {
  const value = parseInteger(text)
  if (value === undefined || value > UINT64_MAX || value < -UINT64_MAX) return 'uint64'
  return value < 0n || value > UINT32_MAX ? 'uint32_t' : Number(value)
}

/** An `int64` property's value, or undefined. */
export function parseInt64(text: string): bigint | undefined {
  const value = parseInteger(text)
  return value === undefined || value > INT64_MAX || value < INT64_MIN ? undefined : value
}
