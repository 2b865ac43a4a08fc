// A serial port on a pseudo-terminal.

import { once } from 'node:events'
import { Socket } from 'node:net'
import { native, unwrap } from '../../../native/native.js'
import type { PortLine } from './line.js'
import type { PortStream } from './port-stream.js'

/**
 * Opens a new pseudo-terminal in raw mode. While no program has it open, the guest's output is
 * dropped.
 */
export function openPty(port: PortStream): PortLine {
  const { fd, path } = unwrap(native().openPty())
  const socket = new Socket({ fd, readable: true, writable: true })
  socket.on('error', () => {})
  socket.unref()
  port.pipe(socket, { end: false })
  socket.pipe(port, { end: false })
  const close = async () => {
    socket.ref()
    const flushed = once(socket, 'finish')
    socket.end()
    await flushed
  }
  return { path, close, destroy: () => void socket.destroy() }
}
