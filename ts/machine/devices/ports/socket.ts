// A serial port on a socket.

import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { MachineConfigError } from '../../../errors/options/machine-config-error.js'
import type { PortLine } from './line.js'
import type { PortStream } from './port-stream.js'
import type { NormalSocket } from '../../config/serial.js'
import { listenAtPath, type Listener } from './unix-listener.js'

/**
 * The time limit of a connection attempt, in ms. Without this limit, a peer that does not answer
 * blocks for minutes.
 */
const CONNECT = 10_000

/** The time before the next attempt while the backlog is full, in ms. */
const CONNECT_AGAIN = 10

/**
 * Listens or connects. With `wait`, waits for the first client.
 *
 * @throws `MachineConfigError` when that fails; the reason of `signal` when it is aborted
 * meanwhile.
 */
export async function openSocket(
  port: PortStream,
  { address, server, wait }: NormalSocket,
  signal: AbortSignal | null,
): Promise<PortLine> {
  signal?.throwIfAborted()
  const clients = new Clients(port)
  const place = 'path' in address ? address.path : `${address.host}:${address.port}`
  if (!server) {
    clients.add(await connected(address, place, signal))
    return { path: place, close: () => clients.close(), destroy: () => clients.destroy() }
  }
  const onClient = (socket: Socket): void => clients.add(socket)
  const listener =
    'path' in address
      ? await listenAtPath(address.path, onClient, signal)
      : await listenByTcp(address, place, onClient, signal)
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
  listener.server.unref()
  return { path: listener.path, close: () => clients.close(), destroy }
}

async function connected(address: NormalSocket['address'], place: string, signal: AbortSignal | null): Promise<Socket> {
  const deadline = performance.now() + CONNECT
  for (;;) {
    const socket = connect({ ...address })
    socket.on('error', () => {})
    try {
      await opened(socket, deadline - performance.now(), signal)
      return socket
    } catch (cause) {
      socket.destroy()
      signal?.throwIfAborted()
      // EAGAIN: the backlog of a Unix socket is full.
      const full = (cause as NodeJS.ErrnoException).code === 'EAGAIN'
      if (!full || performance.now() >= deadline) {
        const remedy = 'Start the program that listens there first, or listen with server: true.'
        throw refused(`cannot connect to '${place}'`, cause, remedy)
      }
      await new Promise(resolve => setTimeout(resolve, CONNECT_AGAIN))
      signal?.throwIfAborted()
    }
  }
}

/** Resolves when the socket is connected. */
async function opened(socket: Socket, patience: number, signal: AbortSignal | null): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  let abort = (): void => {}
  try {
    await new Promise<void>((resolve, reject) => {
      timer = setTimeout(() => reject(new Error(`no answer within ${CONNECT / 1000} s`)), patience)
      abort = () => reject(signal?.reason as Error)
      signal?.addEventListener('abort', abort, { once: true })
      socket.once('connect', resolve)
      socket.once('error', reject)
    })
  } finally {
    clearTimeout(timer)
    signal?.removeEventListener('abort', abort)
  }
}

async function listenByTcp(
  address: { readonly host: string; readonly port: number },
  place: string,
  onClient: (socket: Socket) => void,
  signal: AbortSignal | null,
): Promise<Listener> {
  const server = createServer({ pauseOnConnect: true }, onClient)
  try {
    server.listen({ ...address })
    await once(server, 'listening', signal ? { signal } : {})
  } catch (cause) {
    server.close()
    signal?.throwIfAborted()
    throw refused(`cannot listen at '${place}'`, cause, 'Use a free port and an address of this host.')
  }
  const bound = server.address()
  const path = typeof bound === 'object' && bound !== null ? `${bound.address}:${bound.port}` : place
  return { server, path, close: () => void server.close() }
}

/** The clients of a socket. One client is connected with the port; the others wait in order. */
class Clients {
  readonly #port: PortStream
  readonly #waiting: Socket[] = []
  #current: Socket | undefined
  #closed = false
  #arrived: (() => void) | undefined

  constructor(port: PortStream) {
    this.#port = port
    // Without a client, output is dropped.
    port.resume()
  }

  add(socket: Socket): void {
    socket.on('error', () => {})
    // The machine keeps the process alive, not its clients.
    socket.unref()
    if (this.#closed) socket.destroy()
    else if (this.#current) this.#waiting.push(socket)
    else this.#take(socket)
  }

  /** Resolves when the first client has connected. */
  async first(signal: AbortSignal | null): Promise<void> {
    let abort = (): void => {}
    try {
      await new Promise<void>((resolve, reject) => {
        this.#arrived = resolve
        abort = () => reject(signal?.reason as Error)
        signal?.addEventListener('abort', abort, { once: true })
        if (signal?.aborted) abort()
        if (this.#current) resolve()
      })
    } finally {
      signal?.removeEventListener('abort', abort)
    }
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

  /** Ends the connection of the current client after all output has been written to it. */
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
