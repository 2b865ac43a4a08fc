import type { Writable } from 'node:stream'
import { ConsolePort } from '../../machine/devices/ports/console-port.js'
import type { SerialPort } from '../../machine/devices/ports/serial-port.js'
import { EscapeKeys, escapeKeysHelp } from './escape-keys.js'

/** A guest's console, which takes what is typed. One of virtio is told the terminal's size, at once and when it changes. */
type GuestConsole = SerialPort | ConsolePort

/**
 * Connects this process's standard input with a guest's console.
 *
 * A terminal is put into raw mode: each key reaches the guest at once and unechoed, Ctrl-C too, and Ctrl-A begins the keys of
 * {@link EscapeKeys}. It has its own mode again when the process ends or stops, on whatever way. Anything else is piped, with back-pressure.
 *
 * @param quit What Ctrl-A x does.
 * @returns What disconnects it.
 */
export function connectInput(console: GuestConsole | null | undefined, quit: () => void): Disposable | undefined {
  if (!console) return undefined
  // The guest's port may close before the last key.
  console.on('error', () => {})
  return process.stdin.isTTY ? new Terminal(console, quit) : pipeInput(console)
}

function pipeInput(input: Writable): Disposable {
  const { stdin } = process
  stdin.on('error', () => {})
  stdin.pipe(input, { end: false })
  return {
    [Symbol.dispose]: () => {
      stdin.unpipe(input)
      stdin.destroy()
    },
  }
}

/** The terminal while it is the guest's. */
class Terminal implements Disposable {
  readonly #console: GuestConsole
  readonly #quit: () => void
  readonly #keys = new EscapeKeys()

  constructor(console: GuestConsole, quit: () => void) {
    this.#console = console
    this.#quit = quit
    process.on('exit', this.#restore)
    process.on('SIGTSTP', this.#suspend)
    process.on('SIGCONT', this.#take)
    process.stdout.on('resize', this.#resize)
    process.stdin.on('data', this.#read)
    // A terminal that hangs up ends the process by SIGHUP.
    process.stdin.on('error', () => {})
    this.#take()
  }

  [Symbol.dispose](): void {
    process.off('exit', this.#restore)
    process.off('SIGTSTP', this.#suspend)
    process.off('SIGCONT', this.#take)
    process.stdout.off('resize', this.#resize)
    process.stdin.off('data', this.#read)
    this.#restore()
    process.stdin.destroy()
  }

  readonly #take = (): void => {
    process.stdin.setRawMode(true)
    this.#resize()
  }

  readonly #restore = (): void => {
    process.stdin.setRawMode(false)
  }

  /** The shell gets its terminal as it was; SIGTSTP has a listener and no longer stops by itself. */
  readonly #suspend = (): void => {
    this.#restore()
    process.kill(process.pid, 'SIGSTOP')
  }

  readonly #resize = (): void => {
    const { columns, rows } = process.stdout
    if (this.#console instanceof ConsolePort && columns > 0 && rows > 0) this.#console.resize({ columns, rows })
  }

  readonly #read = (keys: Buffer): void => {
    for (const typed of this.#keys.read(keys)) {
      if (typed.kind === 'guest') this.#send(typed.bytes)
      else if (typed.kind === 'help') process.stderr.write(`\n${escapeKeysHelp}\n`)
      else return this.#quit()
    }
  }

  #send(bytes: Buffer): void {
    const input = this.#console
    // As a UART: what a guest does not fetch is lost. Waiting for it would take Ctrl-A away.
    if (!input.writableNeedDrain && input.writable) input.write(bytes)
  }
}
