// What a serial port's stream is connected with outside the process.

import { once } from 'node:events'
import type { Duplex } from 'node:stream'
import { openPty } from './pty.js'
import { openSocket } from './socket.js'
import type { Serial } from '../config/serial.js'

/** A port as a stream. */
export type SerialPortStream = Duplex

/** The other end of a port. */
export interface SerialLine {
  /** Where it is: a terminal's device, or the address of a socket. */
  readonly path: string
  /** Gives it up, after what the port wrote has gone out. */
  readonly close: () => Promise<void>
  /** Gives it up at once. */
  readonly destroy: () => void
}

/** How long the end of a machine waits for somebody to read the last of its output, in ms. */
const LAST_WORDS = 1000

/**
 * Connects a port with what its target names, if that is something that this process serves.
 *
 * @throws `MachineConfigError` when it cannot be opened, and the signal's reason when it is aborted meanwhile.
 */
export async function openLine(
  port: SerialPortStream,
  target: Serial,
  signal: AbortSignal | null,
): Promise<SerialLine | undefined> {
  switch (target.kind) {
    case 'writable':
      port.pipe(target.stream, { end: false })
      return undefined
    case 'socket':
      return openSocket(port, target, signal)
    case 'pty':
      return openPty(port)
    default:
      return undefined
  }
}

/** Closes lines when their ports have said everything, or after a while. */
export async function closeLines(
  lines: readonly { readonly port: SerialPortStream; readonly line: SerialLine }[],
): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const patience = new Promise<void>(resolve => {
    timer = setTimeout(resolve, LAST_WORDS)
  })
  const spoken = lines.map(async ({ port, line }) => {
    if (!port.readableEnded) await once(port, 'end')
    await line.close()
  })
  await Promise.race([patience, Promise.allSettled(spoken)])
  clearTimeout(timer)
  for (const { line } of lines) line.destroy()
}
