import type { Writable } from 'node:stream'

const CTRL_C = 0x03

/**
 * Connects this process's standard input with a guest's serial port.
 *
 * A terminal is put into raw mode, so that each key reaches the guest at once and unechoed; Ctrl-C then is a byte, and
 * interrupts instead of reaching the guest. Anything else is piped, with back-pressure.
 *
 * @returns What disconnects it and restores the terminal.
 */
export function connectInput(serial: Writable, interrupt: () => void): () => void {
  const { stdin } = process
  // The guest's port may close before the last key.
  serial.on('error', () => {})
  if (!stdin.isTTY) {
    stdin.on('error', () => {})
    stdin.pipe(serial, { end: false })
    return () => {
      stdin.unpipe(serial)
      stdin.destroy()
    }
  }
  const take = (keys: Buffer): void => {
    const end = keys.indexOf(CTRL_C)
    if (end >= 0) return interrupt()
    // As a UART: what a guest does not fetch is lost. Waiting for it would take Ctrl-C away.
    if (!serial.writableNeedDrain && serial.writable) serial.write(keys)
  }
  stdin.setRawMode(true)
  stdin.on('data', take)
  return () => {
    stdin.off('data', take)
    stdin.setRawMode(false)
    stdin.destroy()
  }
}
