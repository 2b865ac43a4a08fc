import type { Entry, NormalOf, OptionsOf } from '../../../schema/entry.js'
import { size } from '../../../schema/argument.js'
import { device, object } from '../../../schema/compound.js'
import { integer, path } from '../../../schema/scalars.js'

export const rngMembers = {
  /**
   * The file from which the device reads random bytes.
   *
   * @default '/dev/urandom'
   */
  source: path({ default: '/dev/urandom' }),
  /**
   * The maximum number of bytes in a {@linkcode period}, on average.
   *
   * @default no limit
   */
  maxBytes: integer({
    min: 1,
    max: Number.MAX_SAFE_INTEGER,
    unit: 'bytes',
    default: null,
    defaultText: 'no limit',
    cli: 'max-bytes',
    argument: size('B'),
  }),
  /**
   * The period of {@linkcode maxBytes} in milliseconds, 1 to 4294967295.
   *
   * @default 65536
   */
  period: integer({ min: 1, max: 0xffff_ffff, unit: 'milliseconds', default: 65_536, cli: 'period' }),
}

/** A virtio-rng, QEMU's `-object rng-random` and `-device virtio-rng-device`. */
export interface RngOptions extends OptionsOf<typeof rngMembers> {}

/** {@link RngOptions} in normal form. */
export interface NormalRng extends NormalOf<typeof rngMembers> {}

const rngObject: Entry<RngOptions, NormalRng, 'required'> = object('RngOptions', rngMembers)

export const rngEntry = device(rngObject, { cli: '-device virtio-rng-device' })
