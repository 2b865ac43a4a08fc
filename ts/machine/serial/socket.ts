// A serial port on a socket.

import { once } from 'node:events'
import { unlinkSync } from 'node:fs'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { MachineConfigError } from '../../errors/machine-config-error.js'
import type { SerialLine, SerialPortStream } from './line.js'
import type { NormalSocket } from './target.js'

/** Listens or connects, and with `wait` waits for the first client. */
export async function openSocket(
  port: SerialPortStream,
  { address, server, wait }: NormalSocket,
  signal: AbortSignal | null,
): Promise<SerialLine> {
  const clients = new Clients(port)
  const place = 'path' in address ? address.path : `${address.host}:${address.port}`
  if (!server) {
    const socket = connect({ ...address })
    await once(socket, 'connect').catch((cause: unknown) => {
      throw refused(
        `cannot connect to '${place}'`,
        cause,
        'Start what listens there first, or listen with server: true.',
      )
    })
    clients.add(socket)
    return { path: place, close: () => clients.close(), destroy: () => clients.destroy() }
  }
  const listener = createServer({ pauseOnConnect: true }, socket => clients.add(socket))
  await listen(listener, address).catch((cause: unknown) => {
    throw refused(
      `cannot listen at '${place}'`,
      cause,
      'Name a free port, or a path in a directory that this user may write to.',
    )
  })
  const destroy = () => {
    listener.close()
    clients.destroy()
  }
  if (wait) {
    await clients.first(signal).catch((error: unknown) => {
      destroy()
      throw error
    })
  }
  listener.unref()
  const bound = listener.address()
  const path = typeof bound === 'object' && bound !== null ? `${bound.address}:${bound.port}` : place
  return { path, close: () => clients.close(), destroy }
}

async function listen(listener: Server, address: NormalSocket['address']): Promise<void> {
  try {
    listener.listen({ ...address })
    await once(listener, 'listening')
  } catch (error) {
    if (
      !('path' in address) ||
      (error as NodeJS.ErrnoException).code !== 'EADDRINUSE' ||
      (await answers(address.path))
    ) {
      throw error
    }
    // A socket that its server left behind.
    unlinkSync(address.path)
    listener.listen({ ...address })
    await once(listener, 'listening')
  }
}

async function answers(path: string): Promise<boolean> {
  const socket = connect({ path })
  try {
    await once(socket, 'connect')
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ECONNREFUSED'
  } finally {
    socket.destroy()
  }
}

/** One client has the port, the others wait for their turn. */
class Clients {
  readonly #port: SerialPortStream
  readonly #waiting: Socket[] = []
  #current: Socket | undefined
  #closed = false
  #arrived: (() => void) | undefined

  constructor(port: SerialPortStream) {
    this.#port = port
    // What nobody hears is lost.
    port.resume()
  }

  add(socket: Socket): void {
    socket.on('error', () => {})
    // The machine keeps the process alive, and not its terminals.
    socket.unref()
    if (this.#closed) socket.destroy()
    else if (this.#current) this.#waiting.push(socket)
    else this.#take(socket)
  }

  /** Resolves when the first client is there. */
  first(signal: AbortSignal | null): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#arrived = resolve
      signal?.addEventListener('abort', () => reject(signal.reason as Error), { once: true })
      if (this.#current) resolve()
    })
  }

  #take(socket: Socket): void {
    this.#current = socket
    this.#arrived?.()
    const port = this.#port
    port.pipe(socket, { end: false })
    socket.pipe(port, { end: false })
    socket.once('close', () => {
      port.unpipe(socket)
      socket.unpipe(port)
      this.#current = undefined
      const next = this.#waiting.shift()
      if (next && !this.#closed) this.#take(next)
      else port.resume()
    })
  }

  /** Lets the current client have what was written to it. */
  async close(): Promise<void> {
    const socket = this.#current
    if (!socket || socket.destroyed) return
    socket.ref()
    const flushed = once(socket, 'finish')
    socket.end()
    await flushed
  }

  destroy(): void {
    this.#closed = true
    for (const socket of this.#waiting.splice(0)) socket.destroy()
    this.#current?.destroy()
  }
}

function refused(what: string, cause: unknown, remedy: string): MachineConfigError {
  const why = cause instanceof Error ? cause.message : String(cause)
  return new MachineConfigError(`a serial port ${what}: ${why}`, { option: 'serial', remedy, cause })
}
