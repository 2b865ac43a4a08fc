import { checkWhole } from '../../../errors/operation/argument-error.js'
import { Socket } from 'node:net'
import { Conversation, type Expected, type ExpectOptions } from './conversation.js'

/** The size of a terminal, in characters. */
export interface TerminalSize {
  /** The number of columns, 0 to 65535. */
  readonly columns: number
  /** The number of rows, 0 to 65535. */
  readonly rows: number
}

/**
 * A port of the virtio console as a stream, a `net.Socket`. Bytes written to it are the guest's
 * input. With target `'stream'` the guest's output can be read from it. Both directions have
 * back-pressure: a program of the guest whose output is not read waits in its `write`. The stream
 * ends with the machine.
 */
export class ConsolePort extends Socket {
  /** The name of a channel; `null` for a terminal. */
  readonly name: string | null
  /**
   * The path of the pseudo-terminal's device, or the address of the socket. `undefined` for other
   * targets.
   */
  path: string | undefined
  readonly #conversation = new Conversation(this)
  readonly #resize: (columns: number, rows: number) => void

  /** @internal Takes over the descriptor. */
  constructor(fd: number, name: string | null, read: boolean, resize: (columns: number, rows: number) => void) {
    super({ fd, readable: true, writable: true })
    this.name = name
    this.#resize = resize
    // Bytes written after the end of the machine are dropped, as on a serial port.
    this.on('error', () => {})
    // The port has no output to read here: resume it to receive its end.
    if (!read) this.resume()
    this.keepAlive(false)
  }

  /**
   * Reports the size of the terminal on which this port is shown to the guest. Linux then sends
   * SIGWINCH. A guest that was reset gets the size again. A channel has no size.
   *
   * @throws {@linkcode ArgumentError} when a number is not a whole number from 0 to 65535.
   */
  resize({ columns, rows }: TerminalSize): void {
    checkWhole('columns', columns, 0, 0xffff)
    checkWhole('rows', rows, 0, 0xffff)
    this.#resize(columns, rows)
  }

  /**
   * Waits until the guest's output has a pattern: see {@linkcode SerialPort.expect}.
   *
   * @throws as {@linkcode SerialPort.expect}.
   */
  expect(pattern: string | RegExp, options: ExpectOptions = {}): Promise<Expected> {
    return this.#conversation.expect(pattern, options)
  }

  /**
   * Reads the guest's output line by line: see {@linkcode SerialPort.lines}.
   *
   * @throws as {@linkcode SerialPort.lines}.
   */
  lines(): AsyncGenerator<string, undefined> {
    return this.#conversation.lines()
  }

  /** @internal Sets whether reading keeps the process alive. */
  keepAlive(alive: boolean): void {
    if (alive) this.ref()
    else this.unref()
  }
}
