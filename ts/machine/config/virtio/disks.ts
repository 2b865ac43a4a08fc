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

const members = {
  /**
   * An image, or a block device of the host. The machine locks it, and the images behind a qcow2 image: no other machine, ours or QEMU's, can write it
   * meanwhile.
   */
  path: path({ cli: '-drive file' }),
  /**
   * The image's format: `raw`, or QEMU's `qcow2` with the images behind it. It is never guessed, because a guest can write any header.
   *
   * @default 'raw'
   */
  format: choice(formats, { default: 'raw', cli: '-drive format' }),
  /**
   * Refuses the guest's writes; several machines may have such a disk at once.
   *
   * @default false
   */
  readOnly: boolean({ default: false, cli: '-drive readonly' }),
  /**
   * A name, unlike that of any other disk of the machine.
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
   * Gives what the guest discards back to the host, as `discard=unmap`: the file becomes sparse. Without it, a discard succeeds and changes nothing.
   *
   * @default false
   */
  discard: boolean({ default: false, cli: '-drive discard' }),
  /**
   * Rate limits.
   *
   * @default none
   */
  throttle: withDefault(diskThrottleObject, { default: {}, defaultText: 'none', cli: '-drive throttling.…' }),
}

/** A disk, QEMU's `-drive` with `-device virtio-blk-device`. The guest has it as `/dev/vda` and so on, in the order of the list. */
export interface DiskOptions extends OptionsOf<typeof members> {}

type Members = NormalOf<typeof members>

/** {@link DiskOptions} in normal form. */
export interface NormalDisk extends Members {
  readonly id: string
}

const diskObject: Entry<DiskOptions, Members, 'required'> = object('DiskOptions', members)

export const disksEntry = list(diskObject, {
  cli: '-device virtio-blk-device',
  rules: { finish: withIds, restore: disks => disks },
})

/** Names the disks that have no id. */
function withIds(disks: readonly Members[], path: string): readonly NormalDisk[] {
  const ids = new Set<string>()
  return disks.map((disk, index) => {
    const id = disk.id ?? `disk${index}`
    if (ids.has(id)) throw conflict(path, `two disks have the id '${id}'`, 'Give each disk its own id, or none.')
    ids.add(id)
    return { ...disk, id }
  })
}
