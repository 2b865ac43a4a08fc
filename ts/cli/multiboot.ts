import { closeSync, openSync, readSync } from 'node:fs'

const MAGIC = 0x1bad_b002
/** The specification: within the first 8192 bytes, at a multiple of 4. */
const SEARCHED = 8192

/** Whether a file has a multiboot-1 header. One that cannot be read has none; loading it tells why. */
export function isMultiboot(path: string): boolean {
  const head = Buffer.alloc(SEARCHED)
  let length = 0
  try {
    const file = openSync(path, 'r')
    try {
      length = readSync(file, head, 0, SEARCHED, 0)
    } finally {
      closeSync(file)
    }
  } catch {
    return false
  }
  for (let at = 0; at + 12 <= length; at += 4) {
    // Magic number, flags and checksum make 0.
    if (
      head.readUInt32LE(at) === MAGIC &&
      ((MAGIC + head.readUInt32LE(at + 4) + head.readUInt32LE(at + 8)) & 0xffff_ffff) === 0
    ) {
      return true
    }
  }
  return false
}
