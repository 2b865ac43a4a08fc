import { Duplex } from 'node:stream'
import { MachineStateError } from '../../../errors/operation/machine-state-error.js'
import type { Channel } from './channel.js'
import { Conversation, type Expected, type ExpectOptions } from './conversation.js'

/**
 * A port of the guest as a stream. Bytes written to it are the guest's input. With target
 * `'stream'` the guest's output can be read from it. Both directions have back-pressure: a guest
 * whose output is not read waits. Other machines and the event loop do not wait.
 *
 * The stream ends with the machine, or when the machine stops in `internal-error`:
 *
 * - All output that the guest wrote before is in the stream by then. It stays readable, and no
 *   descriptor stays open for it.
 * - A reader gets `'end'` after the last byte, and then `'close'`.
 * - {@linkcode Machine.wait} and {@linkcode Machine.stop} resolve after `'end'`, if the stream is
 *   being read. A reader that pauses delays them by at most a second.
 * - A later write passes a {@linkcode MachineStateError} to its callback. Input that the guest has
 *   not read is dropped.
 */
export abstract class PortStream extends Duplex {
  /**
   * The path of the pseudo-terminal's device, or the address of the socket. `undefined` for other
   * targets.
   */
  path: string | undefined
  /** @internal */
  protected readonly channel: Channel
  readonly #conversation = new Conversation(this)
  #ended = false

  /** @internal */
  protected constructor(channel: Channel) {
    super({ allowHalfOpen: true })
    this.channel = channel
    // An input that fails must not end the process: callbacks of writes get their errors.
    this.on('error', () => {})
    if (channel.closed) {
      this.push(null)
      return
    }
    channel.attach({
      take: bytes => this.push(bytes),
      ended: () => this.endOutput(),
    })
  }

  /**
   * Waits until the guest's output has a pattern, and reads up to its end. Later output stays
   * readable, by this method or another one. {@linkcode PortStream.write} answers.
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

  /** @internal True once the stream has ended with its machine. */
  get ended(): boolean {
    return this.#ended
  }

  /** @internal */
  override _read(): void {
    this.channel.resume()
  }

  /** @internal Passes `write()` a late caller's error without destroying the stream. */
  override write(chunk: unknown, ...rest: unknown[]): boolean {
    if (!this.#ended) return super.write(chunk, ...(rest as [BufferEncoding]))
    refuse('write', rest)
    return false
  }

  /** @internal As {@link PortStream.write}: a late `end(chunk)` must not destroy output that can be read. */
  override end(chunk?: unknown, ...rest: unknown[]): this {
    const late = this.#ended && chunk !== undefined && chunk !== null && typeof chunk !== 'function'
    if (!late) return super.end(chunk, ...(rest as [BufferEncoding]))
    refuse('end', rest)
    return this
  }

  /** @internal Puts everything that the guest has written into the stream. */
  drain(): void {
    if (!this.#ended && !this.destroyed) this.channel.drain()
  }

  /** @internal Ends both directions. The channel keeps its descriptor. */
  machineEnded(): void {
    if (this.#ended) return
    this.drain()
    this.#ended = true
    this.channel.attach(undefined)
    this.endOutput()
    this.dropInput()
    this.end()
  }

  /** @internal Sets whether reading keeps the process alive. */
  keepAlive(alive: boolean): void {
    this.channel.keepAlive(alive)
  }

  /** @internal */
  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    // A stream that has ended has given its channel back.
    if (!this.#ended) this.channel.close()
    done(error)
  }

  /** Completes the write that waits for the guest. */
  protected abstract dropInput(): void

  protected endOutput(): void {
    if (this.destroyed) return
    if (!this.readableEnded) this.push(null)
    // Without unread bytes, `'end'` needs no reader.
    this.read(0)
  }
}

/** Passes the callback among these arguments the error of an operation on a port whose machine has ended. */
function refuse(operation: string, rest: readonly unknown[]): void {
  const done = rest.findLast(argument => typeof argument === 'function')
  const error = new MachineStateError(`${operation}() to a port is not possible: the machine has ended`, {
    state: 'shutdown',
    allowed: [],
    remedy: 'Create a new machine with Machine.create().',
  })
  if (done) process.nextTick(done as (error: Error) => void, error)
}
