// Disks in normal form.

import * as v from 'valibot'
import { MachineConfigError } from '../../../errors/machine-config-error.js'
import { either } from '../../../errors/suggest.js'
import { diskThrottleShape, normaliseThrottle, type DiskThrottleOptions, type NormalThrottle } from './throttle.js'

/** How an image holds a disk. */
export type DiskFormat = 'raw' | 'qcow2'

/** A disk, QEMU's `-drive` with `-device virtio-blk-device`. The guest has it as `/dev/vda` and so on, in the order of the list. */
export interface DiskOptions {
  /** A file, or a block device of the host. It is locked: no other machine, of ours or of QEMU's, may write it meanwhile. The images behind a qcow2 image are locked, too. */
  readonly path: string
  /**
   * How the image holds the disk: `raw` byte for byte, `qcow2` in QEMU's format, with the images behind it. It is never guessed, since a guest can write whatever header it likes.
   *
   * @default 'raw'
   */
  readonly format?: DiskFormat
  /**
   * The guest cannot write; several machines may have such a disk at once.
   *
   * @default false
   */
  readonly readOnly?: boolean
  /**
   * A name, unlike that of any other disk of the machine.
   *
   * @default 'disk0' and so on
   */
  readonly id?: string
  /**
   * What the guest reads as the disk's serial number, at most 20 bytes.
   *
   * @default ''
   */
  readonly serial?: string
  /**
   * What the guest discards is given back to the host, as `discard=unmap`: the file becomes sparse.
   *
   * @default false
   */
  readonly discard?: boolean
  /**
   * Rate limits.
   *
   * @default none
   */
  readonly throttle?: DiskThrottleOptions
}

/** {@link DiskOptions}, everything set. */
export interface NormalDisk extends Required<Omit<DiskOptions, 'throttle'>> {
  readonly throttle: NormalThrottle
}

const formats = ['raw', 'qcow2'] as const satisfies readonly DiskFormat[]

/** The longest serial number, in bytes. */
const SERIAL = 20

const text = v.pipe(
  v.string(),
  v.nonEmpty(),
  v.check(value => !value.includes('\0')),
)

/** Shape only. */
export const disksShape = v.array(
  v.strictObject({
    path: text,
    format: v.optional(v.picklist(formats)),
    readOnly: v.optional(v.boolean()),
    id: v.optional(text),
    serial: v.optional(v.string()),
    discard: v.optional(v.boolean()),
    throttle: v.optional(diskThrottleShape),
  }),
)

/** What the option takes, for messages. */
export const disksTakes = `a list of { path, format, readOnly, id, serial, discard, throttle } with format ${either(formats.map(format => `'${format}'`))}`

/** Fills in the defaults and checks what needs no host. */
export function normaliseDisks(disks: readonly DiskOptions[]): readonly NormalDisk[] {
  const ids = new Set<string>()
  return disks.map((disk, index) => {
    const { path, format = 'raw', readOnly = false, id = `disk${index}`, serial = '', discard = false } = disk
    if (ids.has(id)) {
      throw new MachineConfigError(`two disks have the id '${id}'`, {
        option: 'disks',
        remedy: 'Give each disk an id of its own, or none.',
      })
    }
    ids.add(id)
    if (Buffer.byteLength(serial) > SERIAL) {
      throw new MachineConfigError(`the serial number '${serial}' of disk '${id}' is longer than ${SERIAL} bytes`, {
        option: 'disks',
        remedy: 'Take a shorter one.',
      })
    }
    return { path, format, readOnly, id, serial, discard, throttle: normaliseThrottle(disk.throttle ?? {}, 'disks') }
  })
}
