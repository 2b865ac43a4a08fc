import { closeSync, constants, openSync, readFileSync, readSync } from 'node:fs'

const MULTIBOOT = 0x1bad_b002
/** The specification: within the first 8192 bytes, at a multiple of 4. */
const SEARCHED = 8192
const QCOW2 = Buffer.from('QFI\xfb', 'latin1')

/** What reading a command line needs to know of files. */
export interface RunFiles {
  /** Whether a kernel has a multiboot header: only then is `-initrd` a list. */
  readonly isMultiboot: (path: string) => boolean
  /** Whether an image begins with the magic number of qcow2. */
  readonly isQcow2: (path: string) => boolean
  /** A configuration. */
  readonly readText: (path: string) => string
}

/** Whether a file has a multiboot-1 header. One that cannot be read has none; loading it tells why. */
export function isMultiboot(path: string): boolean {
  const head = readHead(path, SEARCHED)
  for (let at = 0; at + 12 <= head.length; at += 4) {
    // Magic number, flags and checksum make 0.
    if (
      head.readUInt32LE(at) === MULTIBOOT &&
      ((MULTIBOOT + head.readUInt32LE(at + 4) + head.readUInt32LE(at + 8)) & 0xffff_ffff) === 0
    ) {
      return true
    }
  }
  return false
}

/** Whether a file begins as a qcow2 image. One that cannot be read does not; opening it tells why. */
export function isQcow2(path: string): boolean {
  return readHead(path, QCOW2.length).equals(QCOW2)
}

/** The first bytes of a file, as many as there are. */
function readHead(path: string, most: number): Buffer {
  const head = Buffer.alloc(most)
  try {
    // Without O_NONBLOCK, opening a FIFO would wait for its writer.
    const file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY)
    try {
      return head.subarray(0, readSync(file, head, 0, most, 0))
    } finally {
      closeSync(file)
    }
  } catch {
    return head.subarray(0, 0)
  }
}

/** The files of this host. A configuration may come from a pipe, which is waited for: nothing exists yet that could end meanwhile. */
export const imageFiles: RunFiles = { isMultiboot, isQcow2, readText: path => readFileSync(path, 'utf8') }
