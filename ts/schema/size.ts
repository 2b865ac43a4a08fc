const SHIFTS = { B: 0, K: 10, M: 20, G: 30, T: 40, P: 50, E: 60 } as const

/** A unit of QEMU's sizes; all are powers of 1024. */
export type SizeUnit = keyof typeof SHIFTS

/**
 * Reads a size as QEMU does: a number and one of the suffixes b, k, M, G, T, P and E in either
 * case. A fraction needs a suffix (`1.5G`) and is rounded to a byte. Hexadecimal (`0x40`) allows no
 * fraction.
 *
 * @param unit The unit of a number without a suffix.
 * @returns Bytes; `'syntax'` when the text is not a size, `'range'` when it exceeds 2^53 - 1 bytes.
 */
export function parseSize(text: string, unit: SizeUnit = 'M'): number | 'syntax' | 'range' {
  const parts = /^(?:(0[xX][0-9a-fA-F]+)|([0-9]+)(\.[0-9]*)?)([kKmMgGtTpP]|[bBeE])?$/.exec(text)
  if (parts === null) return 'syntax'
  const [, hex, whole, fraction, given] = parts
  // In hexadecimal, b and e are digits and never suffixes.
  const suffix = given?.toUpperCase() as SizeUnit | undefined
  if (fraction !== undefined && (suffix === undefined || suffix === 'B')) return 'syntax'
  const scale = 2 ** SHIFTS[suffix ?? unit]
  const bytes = BigInt(hex ?? whole ?? '') * BigInt(scale) + BigInt(Math.round(Number(`0${fraction ?? ''}`) * scale))
  return bytes > BigInt(Number.MAX_SAFE_INTEGER) ? 'range' : Number(bytes)
}

/** Formats bytes as a size with the largest suffix that divides them, for messages and help. */
export function formatSize(bytes: number): string {
  for (const unit of ['T', 'G', 'M', 'K'] as const) {
    const scale = 2 ** SHIFTS[unit]
    if (bytes >= scale && bytes % scale === 0) return `${bytes / scale}${unit}`
  }
  return `${bytes}`
}
