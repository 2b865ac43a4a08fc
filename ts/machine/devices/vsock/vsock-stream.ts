import { Socket } from 'node:net'

/**
 * A stream between a port of the host and a port of the guest. It is a `net.Socket`: its bytes do
 * not pass through this package's events. Both directions have back-pressure. With `allowHalfOpen`,
 * each direction can be ended separately.
 *
 * The stream ends when the machine ends or is reset. A stream that is being read then emits the bytes
 * that it has, within a second. A stream that no program reads is destroyed when the machine ends.
 */
export class VsockStream extends Socket {
  /** The guest's port. */
  readonly guestPort: number
  #hostPort = 0

  /** @internal Takes over the descriptor. */
  constructor(fd: number, guestPort: number, allowHalfOpen: boolean) {
    super({ fd, readable: true, writable: true, allowHalfOpen })
    this.guestPort = guestPort
  }

  /** The host's port. */
  get hostPort(): number {
    return this.#hostPort
  }

  /** @internal The connection is established. */
  opened(hostPort: number): this {
    this.#hostPort = hostPort
    return this
  }
}
