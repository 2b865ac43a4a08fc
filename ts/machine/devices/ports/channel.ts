import { closeSync, readSync } from 'node:fs'
import { Socket } from 'node:net'

/** Bytes that one read takes after the end of the guest. */
const PIECE = 64 * 1024

/**
 * The most bytes that {@link Channel.drain} takes. The kernel holds less for a pipe or a socket. A
 * guest that runs again meanwhile must not keep the event loop.
 */
const MOST = 4 * 1024 * 1024

/** The receiver of a channel's bytes. */
export interface Receiver {
  /** Takes bytes. Returns false if no more bytes are wanted until {@link Channel.resume}. */
  readonly take: (bytes: Buffer) => boolean
  /** The output has ended: no byte follows. */
  readonly ended: () => void
}

/**
 * This process's end of a port: a pipe with the guest's output, or a socket that also carries
 * input. It outlives the streams of its port: a machine that is reset after `internal-error` gets
 * new streams.
 */
export class Channel {
  /** The descriptor; undefined without output, and after the channel was closed. */
  #fd: number | undefined
  readonly #writable: boolean
  #socket: Socket | undefined
  #receiver: Receiver | undefined
  #alive = false

  readonly #arrived = (bytes: Buffer): void => {
    if (this.#receiver?.take(bytes) !== true) this.#socket?.pause()
  }

  /** @param fd The descriptor, which the channel owns; -1 without one. */
  constructor(fd: number, writable: boolean) {
    this.#fd = fd < 0 ? undefined : fd
    this.#writable = writable
  }

  /** True if there is no output to wait for. */
  get closed(): boolean {
    return this.#fd === undefined
  }

  /** Passes the bytes to `receiver` from now on. Without a receiver, they stay in the channel. */
  attach(receiver: Receiver | undefined): void {
    this.#receiver = receiver
    if (!receiver) this.#socket?.pause()
  }

  /** Lets bytes arrive, until the receiver refuses some. */
  resume(): void {
    this.#open()?.resume()
  }

  /** Writes input. `done` is called when the socket has taken it, or is closed. */
  write(bytes: Uint8Array, done: () => void): void {
    const socket = this.#open()
    if (socket?.writable) socket.write(bytes, () => done())
    else done()
  }

  /** Ends the input after everything that was written. */
  endInput(): void {
    this.#open()?.end()
  }

  /** Sets whether waiting for output keeps the process alive. */
  keepAlive(alive: boolean): void {
    this.#alive = alive
    if (alive) this.#socket?.ref()
    else this.#socket?.unref()
  }

  /**
   * Passes all bytes that the guest has written so far to the receiver, which keeps those that it
   * does not want yet. The caller knows that the guest has stopped.
   */
  drain(): void {
    const socket = this.#socket
    // `read` empties the socket's own buffer. Its `data` listener must not pass the bytes as well.
    socket?.off('data', this.#arrived)
    for (let bytes; socket && (bytes = socket.read() as Buffer | null) !== null;) this.#deliver(bytes)
    socket?.on('data', this.#arrived)
    const piece = Buffer.allocUnsafe(PIECE)
    for (let total = 0, count = 1; count > 0 && total < MOST; total += count) {
      count = this.#read(piece)
      if (count > 0) this.#deliver(Buffer.from(piece.subarray(0, count)))
    }
  }

  /** Closes the descriptor at once. Bytes that have not arrived are lost. */
  close(): void {
    if (this.#socket) this.#socket.destroy()
    else if (this.#fd !== undefined) closeSync(this.#fd)
    this.#fd = undefined
  }

  /** An exception of a listener is thrown later: the remaining bytes must not get lost. */
  #deliver(bytes: Buffer): void {
    try {
      this.#receiver?.take(bytes)
    } catch (error) {
      process.nextTick(() => {
        throw error
      })
    }
  }

  /** Reads directly from the descriptor. Returns 0 when it has nothing. */
  #read(piece: Buffer): number {
    if (this.#fd === undefined || this.#socket?.destroyed) return 0
    try {
      return readSync(this.#fd, piece)
    } catch {
      // Nothing is there now, or the other end is gone.
      return 0
    }
  }

  /**
   * Opens the socket at its first use: creating one takes longer than the rest of a port, and
   * start-up does not wait for it.
   */
  #open(): Socket | undefined {
    if (this.#socket || this.#fd === undefined) return this.#socket
    const socket = new Socket({ fd: this.#fd, readable: true, writable: this.#writable, allowHalfOpen: true })
    socket.pause()
    socket.on('data', this.#arrived)
    socket.on('end', () => this.#ended())
    // The other end was closed with bytes in flight: handled as the end.
    socket.on('error', () => this.#ended())
    this.#socket = socket
    this.keepAlive(this.#alive)
    return socket
  }

  #ended(): void {
    const receiver = this.#receiver
    this.close()
    receiver?.ended()
  }
}
