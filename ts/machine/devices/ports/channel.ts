import { closeSync, readSync } from 'node:fs'
import { Socket, type OnReadOpts, type SocketConstructorOpts } from 'node:net'

/**
 * Receives the bytes of every read, which are copied before the next read. A pipe holds 64 KiB. The
 * channels share it, because a read never overlaps another one of the same thread.
 */
const piece = Buffer.allocUnsafeSlow(64 * 1024)

/**
 * A UART transmits single bytes. After a read of fewer than {@link GATHERED} bytes, a serial port's
 * channel stops reading for {@link GATHERING} milliseconds, and the pipe collects what the guest
 * writes meanwhile. The first byte after a silence is not delayed, nor is an answer to input.
 */
const GATHERED = 4096
const GATHERING = 1

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
  /** Bytes of a read without a receiver: a resume() reads once more, in Node's next tick. */
  readonly #kept: Buffer[] = []
  /** Runs while the pipe collects bytes. */
  #gathering: NodeJS.Timeout | undefined

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
    if (receiver) for (const bytes of this.#kept.splice(0)) receiver.take(bytes)
    else this.#pause()
  }

  /** Lets bytes arrive, until the receiver refuses some. */
  resume(): void {
    if (this.#gathering === undefined) this.#open()?.resume()
  }

  /** The guest got input. Its answer arrives without delay. */
  inputPassed(): void {
    if (this.#gathering !== undefined) this.#gathered()
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
    for (const handle of [this.#socket, this.#gathering]) {
      if (alive) handle?.ref()
      else handle?.unref()
    }
  }

  /**
   * Passes all bytes that the guest has written so far to the receiver, which keeps those that it
   * does not want yet. The caller knows that the guest has stopped.
   */
  drain(): void {
    for (let total = 0, count = 1; count > 0 && total < MOST; total += count) {
      count = this.#read()
      if (count > 0) this.#deliver(Buffer.from(piece.subarray(0, count)))
    }
  }

  /** Closes the descriptor at once. Bytes that have not arrived are lost. */
  close(): void {
    clearTimeout(this.#gathering)
    this.#gathering = undefined
    if (this.#socket) this.#socket.destroy()
    else if (this.#fd !== undefined) closeSync(this.#fd)
    this.#fd = undefined
  }

  /** Passes bytes that a read has taken. Returns false to stop reading. */
  #arrived(count: number): boolean {
    const bytes = Buffer.from(piece.subarray(0, count))
    if (!this.#receiver) this.#kept.push(bytes)
    if (this.#receiver?.take(bytes) !== true) return false
    // A listener may have closed the channel.
    if (this.#writable || count >= GATHERED || this.#fd === undefined) return true
    this.#gathering ??= setTimeout(() => this.#gathered(), GATHERING)
    if (!this.#alive) this.#gathering.unref()
    return false
  }

  /** Reads again. */
  #gathered(): void {
    clearTimeout(this.#gathering)
    this.#gathering = undefined
    if (this.#receiver) this.#socket?.resume()
  }

  /** Stops reading. */
  #pause(): void {
    clearTimeout(this.#gathering)
    this.#gathering = undefined
    this.#socket?.pause()
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
  #read(): number {
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
    // With `onread`, the socket has no buffer of its own, and pause() stops reading at once.
    const onread = { buffer: piece, callback: (count: number) => this.#arrived(count) }
    const options: SocketConstructorOpts & { onread: OnReadOpts } = {
      fd: this.#fd,
      readable: true,
      writable: this.#writable,
      allowHalfOpen: true,
      onread,
    }
    const socket = new Socket(options)
    socket.pause()
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
