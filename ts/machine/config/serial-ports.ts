// The serial ports besides COM1, and the debug console.

import * as v from 'valibot'
import { explicitSerial, normaliseSerial, serialShape, serialTakes, type Serial, type SerialTarget } from './serial.js'

/** A port whose bytes go somewhere: QEMU's `isa-debugcon`, and where SeaBIOS writes its messages. */
export interface DebugConsoleOptions {
  /**
   * The I/O port, 0 to 0xffff: 0x402 is SeaBIOS's.
   *
   * @default 0xe9
   */
  readonly port?: number
  /** Where the bytes go. */
  readonly target: SerialTarget
}

/** {@link DebugConsoleOptions} in normal form. */
export interface NormalDebugConsole {
  readonly port: number
  readonly target: Serial
}

/** How many serial ports a board has. */
const PORTS = 4

/** Everything is checked here. */
export const serialsShape = v.pipe(v.array(v.nullable(serialShape)), v.maxLength(PORTS))

/** What the option takes, for messages. */
export const serialsTakes = `a list of up to ${PORTS} targets for COM1 to COM4 in place of 'serial', null for a port that is not there: ${serialTakes}`

/** Everything is checked here. */
export const debugConsoleShape = v.strictObject({
  port: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(0xffff))),
  target: serialShape,
})

/** What the option takes, for messages. */
export const debugConsoleTakes = `{ port, target } with a port from 0 to 0xffff, and a target: ${serialTakes}`

/** Where COM1 to COM4 lead. */
export function normaliseSerials(
  serial: SerialTarget,
  serials: readonly (SerialTarget | null)[] | undefined,
): readonly [Serial | null, ...(Serial | null)[]] {
  const [first = null, ...more] = (serials ?? [serial]).map(target => target && normaliseSerial(target))
  return [first, ...more]
}

/** Fills in the default. */
export function normaliseDebugConsole({ port = 0xe9, target }: DebugConsoleOptions): NormalDebugConsole {
  return { port, target: normaliseSerial(target) }
}

/** The options that have this normal form. */
export function explicitSerials(serials: readonly (Serial | null)[]): (SerialTarget | null)[] {
  return serials.map(serial => serial && explicitSerial(serial))
}
