import type { BindingMachine } from '../../../native/binding.cjs'
import { ConsolePort } from './console-port.js'
import type { NormalMachineOptions } from '../../config/normal-options.js'
import { closeLines, openLine } from './connect-port.js'
import type { PortLine } from './line.js'
import { SerialPort } from './serial-port.js'
import type { Serial } from '../../config/serial.js'

/** The debug console's number among serial ports; COM1 is 0. */
const DEBUG_CONSOLE = 4

/** The ports of a machine as streams, and the connections to their targets. */
export class Ports {
  readonly serial: SerialPort
  readonly serials: readonly (SerialPort | null)[]
  readonly debugConsole: SerialPort | null
  readonly consoles: readonly ConsolePort[]
  readonly #all: readonly { readonly port: SerialPort | ConsolePort; readonly target: Serial }[]
  readonly #lines: { readonly port: SerialPort | ConsolePort; readonly line: PortLine }[] = []

  constructor(native: BindingMachine, { serials, debugConsole, consoles }: NormalMachineOptions) {
    const port = (index: number) =>
      new SerialPort(native.takeSerialFd(index), bytes => native.serialInput(index, bytes))
    this.serial = port(0)
    this.serials = serials.map((target, index) => target && (index === 0 ? this.serial : port(index)))
    this.debugConsole = debugConsole && port(DEBUG_CONSOLE)
    this.consoles = consoles.map(({ target, name }, index) => {
      const read = !['stdio', 'null', 'file'].includes(target.kind)
      const resize = (columns: number, rows: number) => native.resizeConsole(index, columns, rows)
      return new ConsolePort(native.takeConsoleFd(index), name, read, resize)
    })
    const all = [
      ...serials.map((target, index) => ({ port: this.serials[index], target })),
      { port: this.debugConsole, target: debugConsole?.target },
      ...consoles.map(({ target }, index) => ({ port: this.consoles[index], target })),
    ]
    this.#all = all.flatMap(({ port, target }) => (port && target ? [{ port, target }] : []))
  }

  /** Connects the ports with their targets. */
  async connect(signal: AbortSignal | null): Promise<void> {
    for (const { port, target } of this.#all) {
      const line = await openLine(port, target, signal)
      if (!line) continue
      this.#lines.push({ port, line })
      port.path = line.path
    }
  }

  /** Sets whether the ports keep the process alive. */
  keepAlive(alive: boolean): void {
    for (const { port } of this.#all) port.keepAlive(alive)
  }

  /** The guest has read from a serial port. */
  inputDrained(index: number): void {
    this.serials[index]?.inputDrained()
  }

  /** The machine has ended. Calls `done` after the targets have been closed. */
  machineEnded(done: () => void): void {
    for (const { port } of this.#all) if (port instanceof SerialPort) port.machineEnded()
    if (this.#lines.length === 0) done()
    else void closeLines(this.#lines).finally(done)
  }
}
