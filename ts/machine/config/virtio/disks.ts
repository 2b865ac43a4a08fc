import type { Entry, NormalOf, OptionsOf } from '../../../schema/entry.js'
import { list, object, withDefault } from '../../../schema/compound.js'
import { conflict } from '../../../schema/invalid.js'
import { boolean, choice, path, text } from '../../../schema/scalars.js'
import { diskThrottleObject } from './throttle.js'

/** The format of an image. */
export type DiskFormat = 'raw' | 'qcow2'

const formats = ['raw', 'qcow2'] as const satisfies readonly DiskFormat[]

/** The longest serial number of virtio-blk, in bytes. */
const MAX_SERIAL = 20

/** QEMU's spellings of `discard`. */
const discardArgument = {
  takes: 'ignore|unmap',
  read: (word: string) =>
    ['unmap', 'on'].includes(word) ? true : ['ignore', 'off'].includes(word) ? false : undefined,
}

export const diskMembers = {
  /**
   * The path of an image, or of a block device of the host. The machine locks it, together with the
   * backing files of a qcow2 image. Meanwhile no other machine, of kvm-accel or QEMU, can write it.
   */
  path: path({ cli: '-drive file' }),
  /**
   * The format of the image: `raw`, or `qcow2` with its backing files. Without it, the format is
   * detected: a qcow2 image is opened as such, an image of another known format is refused, and any
   * other image is raw. A guest write that would change the detected format then fails.
   *
   * @default detected
   */
  format: choice(formats, { default: null, defaultText: 'detected', cli: '-drive format' }),
  /**
   * Refuses the guest's writes. Several machines may use such a disk at the same time.
   *
   * @default false
   */
  readOnly: boolean({ default: false, cli: '-drive readonly' }),
  /**
   * The name of the disk, unique in the machine.
   *
   * @default 'disk0' and so on
   */
  id: text({ nonEmpty: true, default: null, defaultText: "'disk0' and so on", cli: 'id' }),
  /**
   * The serial number that the guest reads, at most 20 bytes.
   *
   * @default ''
   */
  serial: text({ maxBytes: MAX_SERIAL, default: '', cli: 'serial' }),
  /**
   * Frees the host's storage of sectors that the guest discards, as `discard=unmap`: the file
   * becomes sparse. Without it, a discard succeeds and changes nothing.
   *
   * @default false
   */
  discard: boolean({ default: false, cli: '-drive discard', argument: discardArgument }),
  /**
   * Rate limits.
   *
   * @default none
   */
  throttle: withDefault(diskThrottleObject, { default: {}, defaultText: 'none', cli: '-drive throttling.…' }),
}

/**
 * A disk, QEMU's `-drive` with `-device virtio-blk-device`. Linux names the disks `/dev/vda` and so
 * on, in the order of the list.
 */
export interface DiskOptions extends OptionsOf<typeof diskMembers> {}

type Members = NormalOf<typeof diskMembers>

/** {@link DiskOptions} in normal form. */
export interface NormalDisk extends Members {
  readonly id: string
}

const diskObject: Entry<DiskOptions, Members, 'required'> = object('DiskOptions', diskMembers)

export const disksEntry = list(diskObject, {
  cli: '-device virtio-blk-device',
  rules: { finish: withIds, restore: disks => disks },
})

/** Adds names to the disks that have no id. */
function withIds(disks: readonly Members[], path: string): readonly NormalDisk[] {
  const ids = new Set<string>()
  return disks.map((disk, index) => {
    const id = disk.id ?? `disk${index}`
    if (ids.has(id)) throw conflict(path, `two disks have the id '${id}'`, 'Give each disk its own id, or none.')
    ids.add(id)
    return { ...disk, id }
  })
}
