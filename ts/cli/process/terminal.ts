import type { Writable } from 'node:stream'
import { ConsolePort } from '../../machine/devices/ports/console-port.js'
import type { SerialPort } from '../../machine/devices/ports/serial-port.js'
import { writeText } from '../messages.js'
import { EscapeKeys, escapeKeysHelp } from './escape-keys.js'

/**
 * Signals that end a process by default, without those of signals.ts. SIGUSR1 belongs to
 * Node.js's inspector, and SIGPROF to its profiler.
 */
const FATAL = ['SIGQUIT', 'SIGABRT', 'SIGALRM', 'SIGVTALRM', 'SIGXCPU', 'SIGUSR2', 'SIGIO', 'SIGPWR'] as const

/**
 * A console of the guest, which gets the typed bytes. A virtio console also gets the size of the
 * terminal, at once and when it changes.
 */
type GuestConsole = SerialPort | ConsolePort

/**
 * Connects this process's standard input with a guest's console.
 *
 * A terminal is put into raw mode: each key, Ctrl-C included, reaches the guest at once and without
 * an echo, and Ctrl-A begins the keys of {@link EscapeKeys}. The terminal gets its former mode back
 * whenever the process ends or stops, by a signal too. Other inputs are piped, with back-pressure.
 *
 * @param quit Runs on Ctrl-A x.
 * @returns A function that disconnects the console.
 */
export function connectInput(console: GuestConsole | null | undefined, quit: () => void): Disposable | undefined {
  if (!console) return undefined
  // The port of the guest may close before the last key arrives.
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

/** The terminal while it is connected with the guest. */
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
    for (const signal of FATAL) process.on(signal, this.#die)
    process.stdout.on('resize', this.#resize)
    process.stdin.on('data', this.#read)
    // SIGHUP reports that the terminal was closed, and ends the process.
    process.stdin.on('error', () => {})
    this.#take()
  }

  [Symbol.dispose](): void {
    process.off('exit', this.#restore)
    process.off('SIGTSTP', this.#suspend)
    process.off('SIGCONT', this.#take)
    for (const signal of FATAL) process.off(signal, this.#die)
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

  /**
   * Restores the mode of the terminal for the shell, and stops this process: with a listener,
   * SIGTSTP does not stop it.
   */
  readonly #suspend = (): void => {
    this.#restore()
    process.kill(process.pid, 'SIGSTOP')
  }

  /** Restores the mode of the terminal, and lets the signal end this process as it does by default. */
  readonly #die = (signal: NodeJS.Signals): void => {
    this.#restore()
    process.off(signal, this.#die)
    process.kill(process.pid, signal)
  }

  readonly #resize = (): void => {
    const { columns, rows } = process.stdout
    if (this.#console instanceof ConsolePort && columns > 0 && rows > 0) this.#console.resize({ columns, rows })
  }

  readonly #read = (keys: Buffer): void => {
    for (const typed of this.#keys.read(keys)) {
      if (typed.kind === 'guest') this.#send(typed.bytes)
      else if (typed.kind === 'help') writeText(`\n${escapeKeysHelp}\n`)
      else return this.#quit()
    }
  }

  #send(bytes: Buffer): void {
    const input = this.#console
    // As on a UART, keys that the guest does not read are lost. Waiting for the guest would block
    // Ctrl-A.
    if (!input.writableNeedDrain && input.writable) input.write(bytes)
  }
}
