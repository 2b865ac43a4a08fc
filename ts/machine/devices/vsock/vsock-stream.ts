import { Socket } from 'node:net'

/**
 * A stream between a port of the host and one of the guest: a `net.Socket` whose bytes never pass through this package's events. Both directions have
 * back-pressure, and each can be ended by itself with `allowHalfOpen`.
 *
 * When the machine ends or is reset, it ends.
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

  /** @internal Both sides have accepted. */
  opened(hostPort: number): this {
    this.#hostPort = hostPort
    return this
  }
}
