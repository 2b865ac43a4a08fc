// Connects a port with its target outside the process.

import { once } from 'node:events'
import type { Serial } from '../../config/serial.js'
import type { PortLine, PortStream } from './line.js'
import { openPty } from './pty.js'
import { openSocket } from './socket.js'

/** The time for which the end of a machine waits for readers of its last output, in ms. */
const LAST_OUTPUT = 1000

/**
 * Connects a port with its target. Returns a line for a target that this process serves: a socket
 * or a pseudo-terminal.
 *
 * @throws `MachineConfigError` when the target cannot be opened; the reason of `signal` when it is
 * aborted meanwhile.
 */
export async function openLine(
  port: PortStream,
  target: Serial,
  signal: AbortSignal | null,
): Promise<PortLine | undefined> {
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

/** Closes lines after the last output of their ports, or after {@link LAST_OUTPUT}. */
export async function closeLines(
  lines: readonly { readonly port: PortStream; readonly line: PortLine }[],
): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const timeout = new Promise<void>(resolve => {
    timer = setTimeout(resolve, LAST_OUTPUT)
  })
  const written = lines.map(async ({ port, line }) => {
    if (!port.readableEnded) await once(port, 'end')
    await line.close()
  })
  await Promise.race([timeout, Promise.allSettled(written)])
  clearTimeout(timer)
  for (const { line } of lines) line.destroy()
}
