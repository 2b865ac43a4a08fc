// Builds ELF32 kernels with a multiboot-1 header, byte by byte.

/** A segment to load. */
export interface Segment {
  readonly virtual: number
  readonly physical: number
  readonly bytes: Uint8Array
  /** The size in memory; the bytes beyond `bytes` are zero. */
  readonly memory?: number
}

const words = (...values: number[]): Uint8Array => new Uint8Array(Uint32Array.from(values).buffer)

const MAGIC = 0x1bad_b002
/** A multiboot-1 header without flags. */
export const header = words(MAGIC, 0, 2 ** 32 - MAGIC)

/** Builds the file. */
export const elf32 = (entry: number, segments: readonly Segment[]): Uint8Array => {
  const headers = 52 + 32 * segments.length
  const file = Buffer.alloc(headers)
  file.set([0x7f, 0x45, 0x4c, 0x46, 1, 1, 1])
  file.set([2, 0, 3, 0, 1], 16)
  file.writeUInt32LE(entry, 24)
  file.writeUInt32LE(52, 28)
  for (const [offset, value] of [
    [40, 52],
    [42, 32],
    [44, segments.length],
  ] as const)
    file.writeUInt16LE(value, offset)
  const bodies: Uint8Array[] = []
  let offset = headers
  for (const [index, { virtual, physical, bytes, memory = bytes.length }] of segments.entries()) {
    file.set(words(1, offset, virtual, physical, bytes.length, memory, 7, 1), 52 + 32 * index)
    bodies.push(bytes)
    offset += bytes.length
  }
  return Buffer.concat([file, ...bodies])
}

/**
 * Returns code that writes characters, or the bytes at addresses, to COM1, and then ends the
 * machine by isa-debug-exit at port 0xf4.
 */
export const prints = (...what: readonly (string | number)[]): Uint8Array =>
  Buffer.concat([
    Uint8Array.of(0x66, 0xba, 0xf8, 0x03), // mov $0x3f8, %dx
    ...what.map(one =>
      typeof one === 'string'
        ? Uint8Array.of(0xb0, one.charCodeAt(0), 0xee) // mov $one, %al; out %al, (%dx)
        : Uint8Array.of(0xa0, ...words(one), 0xee),
    ), // mov one, %al; out %al, (%dx)
    Uint8Array.of(0xb0, 0, 0xe6, 0xf4, 0xf4), // mov $0, %al; out %al, $0xf4; hlt
  ])
