import { join } from 'node:path'
import { OptionError } from '../../errors/options/option-error.js'
import type { RunFiles } from '../image-files.js'

/** The directories in which Debian's and Fedora's QEMU look for the file of `-bios`, in this order. */
const directories = ['/usr/share/qemu', '/usr/share/qemu-firmware', '/usr/share/seabios']

/**
 * Returns the path of `-bios NAME`: the name itself if there is such a file, otherwise the file of
 * that name in QEMU's data directories. A name with a slash is a path.
 *
 * @throws {@link OptionError} for a name that is found nowhere, and for firmware that needs PCI.
 */
export function findFirmware(name: string, files: RunFiles): string {
  const places = name.includes('/') ? [name] : [name, ...directories.map(directory => join(directory, name))]
  const path = places.find(files.isReadable)
  if (path === undefined) {
    // The machine reports why a path cannot be read.
    if (places.length === 1) return name
    const message = `-bios: '${name}' is neither in the current directory nor in ${directories.join(', ')}`
    throw new OptionError(message, { option: '-bios', remedy: 'Give a path, or install the package seabios.' })
  }
  const unsupported = files.unsupportedFirmware(path)
  if (unsupported === undefined) return path
  throw new OptionError(`-bios ${path}: ${unsupported} needs PCI, which the board does not have`, {
    option: '-bios',
    remedy: "Boot a kernel with '-kernel', or SeaBIOS with '-bios bios-microvm.bin'.",
  })
}
