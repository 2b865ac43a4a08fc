import type { BindingMachine } from '../../../native/binding.cjs'
import { Channel } from './channel.js'
import { ConsolePort } from './console-port.js'
import type { NormalMachineOptions } from '../../config/normal-options.js'
import { readToEnd } from '../../lifecycle/last-output.js'
import { closeLines, openLine } from './connect-port.js'
import type { PortLine } from './line.js'
import type { PortStream } from './port-stream.js'
import { SerialPort } from './serial-port.js'
import type { Serial } from '../../config/serial.js'

/** The debug console's number among serial ports; COM1 is 0. */
const DEBUG_CONSOLE = 4

/** A port with its target. */
interface Place {
  port: PortStream
  readonly channel: Channel
  readonly target: Serial
  /** Creates the stream that replaces `port`. */
  readonly renew: () => PortStream
  /** The connection with a target that this process serves. */
  line: PortLine | undefined
}

/** The ports of a machine as streams, and the connections to their targets. */
export class Ports {
  readonly serials: (SerialPort | null)[]
  readonly consoles: ConsolePort[]
  /** COM1 of a machine without COM1 is a stream, too. */
  #com1: SerialPort
  #debugConsole: SerialPort | null = null
  readonly #native: BindingMachine
  readonly #places: Place[] = []
  #keepsAlive = false

  constructor(native: BindingMachine, { serials, debugConsole, consoles }: NormalMachineOptions) {
    this.#native = native
    const com1 = new Channel(native.takeSerialFd(0), false)
    this.#com1 = this.#serialPort(0, com1)
    this.serials = serials.map((target, index) => {
      if (!target) return null
      const channel = index === 0 ? com1 : new Channel(native.takeSerialFd(index), false)
      const port = index === 0 ? this.#com1 : this.#serialPort(index, channel)
      const renew = () => {
        const next = this.#serialPort(index, channel)
        if (index === 0) this.#com1 = next
        return (this.serials[index] = next)
      }
      this.#places.push({ port, channel, target, renew, line: undefined })
      return port
    })
    if (debugConsole) {
      const channel = new Channel(native.takeSerialFd(DEBUG_CONSOLE), false)
      const renew = () => (this.#debugConsole = this.#serialPort(DEBUG_CONSOLE, channel))
      this.#places.push({ port: renew(), channel, target: debugConsole.target, renew, line: undefined })
    }
    this.consoles = consoles.map(({ target, name }, index) => {
      const channel = new Channel(native.takeConsoleFd(index), true)
      const resize = (columns: number, rows: number) => native.resizeConsole(index, columns, rows)
      const port = new ConsolePort(channel, name, resize)
      const renew = () => (this.consoles[index] = new ConsolePort(channel, name, resize))
      this.#places.push({ port, channel, target, renew, line: undefined })
      return port
    })
  }

  get serial(): SerialPort {
    return this.#com1
  }

  get debugConsole(): SerialPort | null {
    return this.#debugConsole
  }

  /** Connects the ports with their targets. */
  async connect(signal: AbortSignal | null): Promise<void> {
    for (const place of this.#places) {
      place.line = await openLine(place.port, place.target, signal)
      place.port.path = place.line?.path
    }
  }

  /** Sets whether the ports keep the process alive. */
  keepAlive(alive: boolean): void {
    this.#keepsAlive = alive
    for (const { channel } of this.#places) channel.keepAlive(alive)
  }

  /** The guest has read from a serial port. */
  inputDrained(index: number): void {
    this.serials[index]?.inputDrained()
  }

  /**
   * The guest has stopped, and may continue. Resolves when the readers of the streams have its
   * output.
   */
  async guestStopped(): Promise<void> {
    for (const { port } of this.#places) port.drain()
    // Readers get the bytes in the next steps of the event loop.
    await new Promise(setImmediate)
  }

  /**
   * The guest has stopped and cannot continue without a reset. Ends the streams whose readers wait
   * for an end. A socket or a pseudo-terminal stays connected. Resolves when the readers of the
   * streams have the output.
   */
  async guestFailed(): Promise<void> {
    const ended = this.#places.filter(({ line }) => !line)
    for (const { port } of ended) port.machineEnded()
    await readToEnd(ended.map(({ port }) => port))
  }

  /** The machine was reset after {@link Ports.guestFailed}: ports whose streams ended get new streams. */
  async restarted(): Promise<void> {
    for (const place of this.#places.filter(({ port }) => port.ended)) {
      place.port = place.renew()
      await openLine(place.port, place.target, null)
    }
    this.keepAlive(this.#keepsAlive)
  }

  /**
   * The machine has ended. Resolves when the readers of the streams have the output, and the targets
   * are closed.
   */
  async machineEnded(): Promise<void> {
    for (const { port, channel } of this.#places) {
      port.machineEnded()
      channel.close()
    }
    this.#com1.machineEnded()
    await readToEnd(this.#places.map(({ port }) => port))
    await closeLines(this.#places.flatMap(({ line }) => line ?? []))
  }

  #serialPort(index: number, channel: Channel): SerialPort {
    return new SerialPort(channel, bytes => this.#native.serialInput(index, bytes))
  }
}
