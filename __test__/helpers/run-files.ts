import type { RunFiles } from '../../ts/cli/image-files.js'

/** The files of a command line: every path can be read, and no kernel has a multiboot header. */
export const runFiles: RunFiles = {
  isMultiboot: () => false,
  readText: String,
  isReadable: () => true,
  unsupportedFirmware: () => undefined,
}
