// A listening Unix socket for a serial port.

import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'
import { native, unwrap } from '../../../native/native.js'

/** A server that listens. */
export interface Listener {
  readonly server: Server
  /** The path at which it listens. */
  readonly path: string
  readonly close: () => void
}

/** The maximum time for which another process may hold a lock on the directory, in ms. */
const LOCK = 5000

/** The time before the next attempt, in ms. */
const LOCK_AGAIN = 10

/**
 * Listens at a path. The path must not exist, or must be the socket of a process that has ended.
 * Closing the listener removes the socket's file.
 *
 * @throws `MachineConfigError` when the path is another file or the socket of a listening process,
 * and when listening fails; the reason of `signal` when it is aborted meanwhile.
 */
export async function listenAtPath(
  path: string,
  onClient: (socket: Socket) => void,
  signal: AbortSignal | null,
): Promise<Listener> {
  const deadline = performance.now() + LOCK
  let result = native().listenUnix(path, false)
  while (!result) {
    await new Promise(resolve => setTimeout(resolve, LOCK_AGAIN))
    signal?.throwIfAborted()
    result = native().listenUnix(path, performance.now() >= deadline)
  }
  const socket = unwrap(result)
  const server = createServer({ pauseOnConnect: true }, onClient)
  const close = (): void => {
    // Close the native socket first, which removes the file: another process may use the path as
    // soon as no process listens on it.
    socket.close()
    server.close()
  }
  try {
    server.listen({ fd: socket.fd() })
    await once(server, 'listening', signal ? { signal } : {})
  } catch (error) {
    close()
    signal?.throwIfAborted()
    throw error
  }
  return { server, path, close }
}
