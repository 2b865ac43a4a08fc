import { closeSync } from 'node:fs'
import { Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { Conversation, type Expected, type ExpectOptions } from './conversation.js'

/** Offers input to the guest. Returns the number of bytes that were accepted. */
type Input = (bytes: Uint8Array) => number

/**
 * A serial port as a stream. Bytes written to it are the guest's input. With target `'stream'` the
 * guest's output can be read from it.
 *
 * Both directions have back-pressure. A guest whose output is not read waits in its `out`
 * instruction. Other machines and the event loop do not wait.
 */
export class SerialPort extends Duplex {
  /**
   * The path of the pseudo-terminal's device, or the address of the socket. `undefined` for other
   * targets.
   */
  path: string | undefined
  readonly #input: Input
  readonly #conversation = new Conversation(this)
  /** The reading end of the guest's output, until the first read. */
  #fd: number | undefined
  #output: Socket | undefined
  #keepsAlive = false
  #waiting: { rest: Uint8Array; done: () => void } | undefined
  #ended = false

  /**
   * @internal `fd` is the reading end of the guest's output, which this stream owns; -1 without
   * one.
   */
  constructor(fd: number, input: Input) {
    super({ allowHalfOpen: true })
    this.#input = input
    if (fd < 0) {
      this.push(null)
      return
    }
    this.#fd = fd
  }

  /**
   * Waits until the guest's output has a pattern, and reads up to its end. Later output stays
   * readable, by this method or another one. {@linkcode SerialPort.write} answers.
   *
   * @example
   * ```ts
   * import { Machine, guestImage } from 'kvm-accel'
   *
   * await using machine = await Machine.create({ kernel: guestImage('serial-echo'), serial: 'stream' })
   * await machine.start()
   * await machine.serial.expect('serial-echo')
   * machine.serial.write('ping q')
   * console.log((await machine.serial.expect(/pi(n)g/, { timeout: 10_000 })).groups)
   * ```
   * @param pattern A text, or a regular expression. It is searched in the last 64 KiB of output.
   * @throws {@linkcode ExpectError} when the pattern does not come within the time limit, or the
   * output ends; the reason of `signal` when it is aborted. The output that was read stays readable.
   * @throws {@linkcode ArgumentError} for another pattern or timeout.
   */
  expect(pattern: string | RegExp, options: ExpectOptions = {}): Promise<Expected> {
    return this.#conversation.expect(pattern, options)
  }

  /**
   * Reads the guest's output line by line, decoded as UTF-8 and without line ends, until it ends. A
   * line longer than 64 KiB comes in pieces. Leaving the loop leaves later output readable.
   *
   * @throws {@linkcode ExpectError} when a pipe or a listener reads the port already.
   */
  lines(): AsyncGenerator<string, undefined> {
    return this.#conversation.lines()
  }

  /** @internal */
  override _read(): void {
    if (this.#fd !== undefined) this.#open(this.#fd)
    this.#output?.resume()
  }

  /**
   * Opens the output at the first read: creating a socket takes longer than the rest of a port, and
   * start-up does not wait for it.
   */
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

  /** @internal The guest has read input: bytes that wait may fit now. */
  inputDrained(): void {
    const waiting = this.#waiting
    this.#waiting = undefined
    if (waiting) this._write(waiting.rest, 'buffer' as BufferEncoding, waiting.done)
  }

  /**
   * @internal The machine has ended: input is dropped from now on, and output ends when it has been
   * read.
   */
  machineEnded(): void {
    this.#ended = true
    this.#waiting?.done()
    this.#waiting = undefined
  }

  /** @internal Sets whether reading keeps the process alive. */
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
