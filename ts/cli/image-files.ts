import { accessSync, closeSync, constants, openSync, readFileSync, readSync } from 'node:fs'

const MULTIBOOT = 0x1bad_b002
/** The multiboot specification: the header lies in the first 8192 bytes, at a multiple of 4. */
const SEARCHED = 8192

/** The accesses to files that the command-line parser needs. */
export interface RunFiles {
  /** Returns true if a kernel has a multiboot header. Only then is `-initrd` a list. */
  readonly isMultiboot: (path: string) => boolean
  /** Reads the text of a configuration file. */
  readonly readText: (path: string) => string
  /** Returns true if a file exists and can be read. */
  readonly isReadable: (path: string) => boolean
  /** Returns the kind of firmware in a file that this board cannot run, or undefined. */
  readonly unsupportedFirmware: (path: string) => string | undefined
}

/**
 * Returns true if a file has a multiboot-1 header; false if it cannot be read. Loading the kernel
 * later reports the read error.
 */
export function isMultiboot(path: string): boolean {
  const head = readHead(path, SEARCHED)
  for (let at = 0; at + 12 <= head.length; at += 4) {
    // Magic number, flags and checksum add up to 0.
    if (
      head.readUInt32LE(at) === MULTIBOOT &&
      ((MULTIBOOT + head.readUInt32LE(at + 4) + head.readUInt32LE(at + 8)) & 0xffff_ffff) === 0
    ) {
      return true
    }
  }
  return false
}

/** The size of the largest firmware image. */
const LARGEST_FIRMWARE = 8 * 1024 * 1024

/** The signature of a firmware volume (UEFI PI specification), and its offset. */
const UEFI = { signature: '_FVH', at: 40 }

/** Returns the name of firmware that needs PCI, which the board does not have. */
export function unsupportedFirmware(path: string): string | undefined {
  const image = readHead(path, LARGEST_FIRMWARE)
  if (image.toString('latin1', UEFI.at, UEFI.at + UEFI.signature.length) === UEFI.signature) return 'UEFI (OVMF)'
  return image.includes('U-Boot 2') ? 'U-Boot' : undefined
}

function isReadable(path: string): boolean {
  try {
    accessSync(path, constants.R_OK)
    return true
  } catch {
    return false
  }
}

/** Reads the first bytes of a file, at most `most`. */
function readHead(path: string, most: number): Buffer {
  const head = Buffer.alloc(most)
  try {
    // Without O_NONBLOCK, opening a FIFO would wait for a writer.
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

/**
 * Reads files of this host. `readText` waits if the configuration comes from a pipe: no machine
 * exists yet that could end meanwhile.
 */
export const imageFiles: RunFiles = {
  isMultiboot,
  readText: path => readFileSync(path, 'utf8'),
  isReadable,
  unsupportedFirmware,
}
