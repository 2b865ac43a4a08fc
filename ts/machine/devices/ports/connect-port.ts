// Connects a port with its target outside the process.

import { withinLastOutput } from '../../lifecycle/last-output.js'
import type { Serial } from '../../config/serial.js'
import type { PortLine } from './line.js'
import type { PortStream } from './port-stream.js'
import { openPty } from './pty.js'
import { openSocket } from './socket.js'

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

/** Closes lines after their last output, or when the time for it is over. */
export async function closeLines(lines: readonly PortLine[]): Promise<void> {
  if (lines.length === 0) return
  await withinLastOutput(Promise.allSettled(lines.map(line => line.close())))
  for (const line of lines) line.destroy()
}
