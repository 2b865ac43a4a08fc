import { Socket } from 'node:net'

/** A terminal's size, in characters. */
export interface TerminalSize {
  /** Characters of a line, 0 to 65535. */
  readonly columns: number
  /** Lines, 0 to 65535. */
  readonly rows: number
}

/**
 * A port of the virtio console as a stream, a `net.Socket`: what is written is the guest's input; with target `'stream'` what the guest writes can be
 * read. Both directions have back-pressure: a program of the guest whose output nobody reads waits in its `write`. It ends with the machine.
 */
export class ConsolePort extends Socket {
  /** A channel's name; `null` for a terminal. */
  readonly name: string | null
  /** Where the port is for other programs: a pseudo-terminal's device, or the address of a socket. `undefined` for other targets. */
  path: string | undefined
  readonly #resize: (columns: number, rows: number) => void

  /** @internal Takes over the descriptor. */
  constructor(fd: number, name: string | null, read: boolean, resize: (columns: number, rows: number) => void) {
    super({ fd, readable: true, writable: true })
    this.name = name
    this.#resize = resize
    // What is written to a machine that has ended is lost, as on a serial port.
    this.on('error', () => {})
    // Nothing comes but the end.
    if (!read) this.resume()
    this.keepAlive(false)
  }

  /**
   * Tells the guest the size of the terminal that this port is shown on; Linux then sends SIGWINCH. A guest that is reset hears it again. A channel has none.
   *
   * @throws RangeError when a number is not a whole one from 0 to 65535.
   */
  resize({ columns, rows }: TerminalSize): void {
    for (const number of [columns, rows]) {
      if (!Number.isInteger(number) || number < 0 || number > 0xffff) {
        throw new RangeError(`A terminal of ${columns} columns and ${rows} rows: take whole numbers from 0 to 65535`)
      }
    }
    this.#resize(columns, rows)
  }

  /** @internal Whether reading keeps the process alive. */
  keepAlive(alive: boolean): void {
    if (alive) this.ref()
    else this.unref()
  }
}
