// The socket device in normal form.

import * as v from 'valibot'
import { MachineConfigError } from '../../../errors/machine-config-error.js'

/** Sockets between the guest and the host, QEMU's `-device vhost-vsock-device`. */
export interface VsockOptions {
  /** The guest's address, 3 to 2^32 - 2. The host's is 2. */
  readonly cid: number
  /**
   * A Unix socket by which programs of the host connect to the guest: they write `CONNECT PORT` and a newline, and read `OK` and the host's port once
   * the guest has accepted. What the guest connects to is the socket at this path with `_` and the port behind it. At most 97 bytes; nothing may be
   * there yet, and it is removed when the machine ends.
   *
   * @default no path: only this process reaches the guest, by {@link Machine.vsock}
   */
  readonly path?: string
  /**
   * Connections at a time, 1 to 1024, those of all ports and both directions together. The guest opens connections, so this bounds what it can cost
   * this process: 128 KiB of memory and up to 2 file descriptors for each. The device resets a connection beyond the limit.
   *
   * @default 128, which is 16 MiB and 256 file descriptors
   */
  readonly maxConnections?: number
}

/** {@link VsockOptions}, everything set. */
export interface NormalVsock {
  readonly cid: number
  readonly path: string | null
  readonly maxConnections: number
}

const LAST_CID = 2 ** 32 - 2
/** The largest `maxConnections`: 128 MiB and 2048 file descriptors. */
export const MOST_CONNECTIONS = 1024

/** Shape only. */
export const vsockShape = v.strictObject({
  cid: v.number(),
  path: v.optional(
    v.pipe(
      v.string(),
      v.nonEmpty(),
      v.check(path => !path.includes('\0')),
    ),
  ),
  maxConnections: v.optional(v.number()),
})

/** What the option takes, for messages. */
export const vsockTakes = `{ cid, path, maxConnections } with cid from 3 to ${LAST_CID} and path the place of a Unix socket`

/** Fills in the defaults and checks what needs no host. */
export function normaliseVsock(vsock: VsockOptions | undefined): NormalVsock | null {
  if (vsock === undefined) return null
  const { cid, path = null, maxConnections = 128 } = vsock
  if (!Number.isInteger(cid) || cid < 3 || cid > LAST_CID) {
    throw new MachineConfigError(`vsock.cid is ${cid}, and takes a whole number from 3 to ${LAST_CID}`, {
      option: 'vsock',
      remedy: 'Take 3 when there is no reason for another one.',
    })
  }
  if (!Number.isInteger(maxConnections) || maxConnections < 1 || maxConnections > MOST_CONNECTIONS) {
    throw new MachineConfigError(
      `vsock.maxConnections is ${maxConnections}, and takes a whole number from 1 to ${MOST_CONNECTIONS}`,
      { option: 'vsock', remedy: 'Omit it for 128 connections.' },
    )
  }
  return { cid, path, maxConnections }
}
