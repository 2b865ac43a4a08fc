import { closeSync } from 'node:fs'
import { Socket } from 'node:net'
import { Duplex } from 'node:stream'

/** What takes the input: the number of bytes that fitted. */
type Input = (bytes: Uint8Array) => number

/**
 * COM1 as a stream. What is written is the guest's input; with `serial: 'stream'` what the guest writes can be read.
 *
 * Both directions have back-pressure. A guest whose output nobody reads waits in its `out` instruction, and so does nothing
 * else: no other machine, and not the event loop.
 */
export class SerialPort extends Duplex {
  /** Where the port is for other programs: a pseudo-terminal's device, or the address of a socket. `undefined` for other targets. */
  path: string | undefined
  readonly #input: Input
  /** The reading end of the guest's output, until it is read for the first time. */
  #fd: number | undefined
  #output: Socket | undefined
  #keepsAlive = false
  #waiting: { rest: Uint8Array; done: () => void } | undefined
  #ended = false

  /** @internal `fd` is the reading end of the guest's output, which this stream owns; -1 without one. */
  constructor(fd: number, input: Input) {
    super({ allowHalfOpen: true })
    this.#input = input
    if (fd < 0) {
      this.push(null)
      return
    }
    this.#fd = fd
  }

  /** @internal */
  override _read(): void {
    if (this.#fd !== undefined) this.#open(this.#fd)
    this.#output?.resume()
  }

  /** Opened late, because a socket costs more than the rest of a port, and start-up does not wait for it. */
  #open(fd: number): void {
    this.#fd = undefined
    const output = new Socket({ fd, readable: true, writable: false })
    output.on('data', (chunk: Buffer) => {
      if (!this.push(chunk)) output.pause()
    })
    output.on('end', () => this.push(null))
    output.on('error', error => this.destroy(error))
    this.#output = output
    this.keepAlive(this.#keepsAlive)
  }

  /** @internal */
  override _write(chunk: Uint8Array, _encoding: BufferEncoding, done: () => void): void {
    const rest = chunk.subarray(this.#input(chunk))
    if (rest.length === 0 || this.#ended) done()
    else this.#waiting = { rest, done }
  }

  /** @internal The guest has read: what waits may fit now. */
  inputDrained(): void {
    const waiting = this.#waiting
    this.#waiting = undefined
    if (waiting) this._write(waiting.rest, 'buffer' as BufferEncoding, waiting.done)
  }

  /** @internal The machine has ended: input is dropped from now on, and output ends when it has been read. */
  machineEnded(): void {
    this.#ended = true
    this.#waiting?.done()
    this.#waiting = undefined
  }

  /** @internal Whether reading keeps the process alive. */
  keepAlive(alive: boolean): void {
    this.#keepsAlive = alive
    if (alive) this.#output?.ref()
    else this.#output?.unref()
  }

  /** @internal */
  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#output?.destroy()
    if (this.#fd !== undefined) closeSync(this.#fd)
    this.#fd = undefined
    done(error)
  }
}
