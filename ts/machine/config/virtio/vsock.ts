import type { Entry, NormalOf, OptionsOf } from '../../../schema/entry.js'
import { object, optional } from '../../../schema/compound.js'
import { integer, socketPath } from '../../../schema/scalars.js'

/** The largest `maxConnections`. That many connections use 128 MiB and 2048 file descriptors. */
export const MOST_CONNECTIONS = 1024

export const vsockMembers = {
  /** The guest's address (CID), 3 to 4294967294. The host's is 2. */
  cid: integer({ min: 3, max: 0xffff_fffe, cli: 'guest-cid' }),
  /**
   * The path of a Unix socket through which programs of the host connect to the guest, at most 97
   * bytes. The path must not exist: the machine creates the socket, and removes it when it ends. A
   * program writes `CONNECT PORT` and a newline. Once the guest has accepted, the program reads
   * `OK` and the host's port. A connection of the guest to port P goes to the Unix socket at this
   * path followed by `_P`.
   *
   * @default none: only this process reaches the guest
   */
  path: socketPath({
    suffix: '_4294967295'.length - 1,
    default: null,
    defaultText: 'none: only this process reaches the guest',
    cli: 'path',
  }),
  /**
   * The maximum number of connections at a time, 1 to 1024, over all ports and both directions. It
   * bounds the resources that the guest can use in this process, because the guest opens
   * connections: 128 KiB of memory and up to 2 file descriptors each. The device resets a
   * connection beyond the limit.
   *
   * @default 128
   */
  maxConnections: integer({ min: 1, max: MOST_CONNECTIONS, default: 128 }),
}

/** A virtio-vsock, QEMU's `-device vhost-vsock-device`. */
export interface VsockOptions extends OptionsOf<typeof vsockMembers> {}

/** {@link VsockOptions} in normal form. */
export interface NormalVsock extends NormalOf<typeof vsockMembers> {}

const vsockObject: Entry<VsockOptions, NormalVsock, 'required'> = object('VsockOptions', vsockMembers)

export const vsockEntry = optional(vsockObject, { cli: '-device vhost-vsock-device' })
