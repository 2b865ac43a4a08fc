// Lists of the kernel: a header that begins with a count of 32 bits, and entries.

/** Creates a list for `count` entries. */
export function emptyList(header: number, entry: number, count: number): Uint8Array {
  const bytes = new Uint8Array(header + count * entry)
  new DataView(bytes.buffer).setUint32(0, count, true)
  return bytes
}

/** Returns the number of entries in a list's header. */
const count = (bytes: Uint8Array): number => new DataView(bytes.buffer).getUint32(0, true)

/** Returns views of the entries of a list. */
export function entries<S>(
  bytes: Uint8Array,
  header: number,
  type: { readonly size: number } & (new (buffer: ArrayBufferLike, byteOffset: number) => S),
): S[] {
  return Array.from({ length: count(bytes) }, (_, index) => new type(bytes.buffer, header + index * type.size))
}

/** Creates a list of copies of these entries. */
export function listOf(
  header: number,
  type: { readonly size: number },
  from: readonly { readonly bytes: Uint8Array }[],
): Uint8Array {
  const bytes = emptyList(header, type.size, from.length)
  from.forEach((entry, index) => bytes.set(entry.bytes, header + index * type.size))
  return bytes
}

/** Returns the numbers of a list of 32-bit numbers. */
export function numbers(bytes: Uint8Array): number[] {
  return [...new Uint32Array(bytes.buffer, 4, count(bytes))]
}
