import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, constants, openSync } from 'node:fs'
import { Socket } from 'node:net'
import { native, unwrap } from '../../ts/native/native.js'
import { root } from './paths.js'

/**
 * A command with a terminal as its standard streams, and its user: types keys and reads the screen.
 */
export class Seat implements Disposable {
  readonly child: ChildProcess
  readonly #path: string
  readonly #socket: Socket
  #screen = ''

  constructor(command: string, args: readonly string[]) {
    const { fd, path } = unwrap(native().openPty())
    this.#path = path
    this.#socket = new Socket({ fd, readable: true, writable: true })
    this.#socket.setEncoding('utf8').on('data', (text: string) => (this.#screen += text))
    this.#stty('sane', 'rows', '24', 'cols', '80')
    // O_NOCTTY: the terminal must not become the controlling terminal of this test.
    const terminal = openSync(path, constants.O_RDWR | constants.O_NOCTTY)
    this.child = spawn(command, args, { cwd: root, stdio: [terminal, terminal, terminal] })
    closeSync(terminal)
  }

  #stty(...args: string[]): string {
    return execFileSync('stty', ['-F', this.#path, ...args], { encoding: 'utf8' })
  }

  /** The whole output on the terminal. */
  get screen(): string {
    return this.#screen
  }

  /** True in cooked mode: the terminal edits and echoes lines, and Ctrl-C is a signal. */
  get cooked(): boolean {
    const words = this.#stty('-a').split(/[\s;]+/)
    const all = (...modes: string[]) => modes.every(mode => words.includes(mode))
    if (all('icanon', 'echo', 'isig')) return true
    if (all('-icanon', '-echo', '-isig')) return false
    throw new Error(`half a mode: ${words.join(' ')}`)
  }

  /** Types keys once the text `after` is on the screen. */
  async type(keys: string, after: string): Promise<void> {
    await this.see(after)
    this.#socket.write(keys)
  }

  /** Waits until a text is on the screen. */
  async see(text: string): Promise<void> {
    while (!this.#screen.includes(text)) await once(this.#socket, 'data')
  }

  /** Reads no further output: the terminal fills up, as one that the user has stopped. */
  stopReading(): void {
    this.#socket.pause()
  }

  /**
   * Changes the size of the window. Sends SIGWINCH, because the terminal is not the controlling
   * terminal of the command.
   */
  resize(columns: number, rows: number): void {
    this.#stty('rows', String(rows), 'cols', String(columns))
    this.child.kill('SIGWINCH')
  }

  /** Resolves with the exit status, or with the signal that ended the command. */
  async ended(): Promise<number | string> {
    const [status, signal] = (await once(this.child, 'exit')) as [number | null, string | null]
    return status ?? signal ?? 'nothing'
  }

  [Symbol.dispose](): void {
    this.child.kill('SIGKILL')
    this.#socket.destroy()
  }
}
