import type { Entry, NormalOf, OptionsOf } from '../../../schema/entry.js'
import { device, object } from '../../../schema/compound.js'
import { boolean, integer } from '../../../schema/scalars.js'

/** The polling interval of the command line is in seconds. */
const MAX_SECONDS = 4_294_967

export const balloonMembers = {
  /**
   * Lets a guest that is out of memory take pages back before it kills a process.
   *
   * @default false
   */
  deflateOnOom: boolean({ default: false, cli: 'deflate-on-oom' }),
  /**
   * Lets the guest report unused pages. The host uses their memory until the guest touches them
   * again.
   *
   * @default false
   */
  freePageReporting: boolean({ default: false, cli: 'free-page-reporting' }),
  /**
   * The time between the guest's updates of {@link Balloon.statistics}. In milliseconds, 0 to
   * 4294967295. With 0 the guest reports only once, when its driver starts.
   *
   * @default 0
   */
  statisticsInterval: integer({
    min: 0,
    max: 0xffff_ffff,
    unit: 'milliseconds',
    default: 0,
    cli: 'guest-stats-polling-interval',
    argument: {
      takes: 'SECONDS',
      read: word => (/^\d+$/.test(word) && Number(word) <= MAX_SECONDS ? Number(word) * 1000 : undefined),
    },
  }),
}

/** A virtio-balloon, QEMU's `-device virtio-balloon-device`. */
export interface BalloonOptions extends OptionsOf<typeof balloonMembers> {}

/** {@link BalloonOptions} in normal form. */
export interface NormalBalloon extends NormalOf<typeof balloonMembers> {}

const balloonObject: Entry<BalloonOptions, NormalBalloon, 'required'> = object('BalloonOptions', balloonMembers)

export const balloonEntry = device(balloonObject, { cli: '-device virtio-balloon-device' })
