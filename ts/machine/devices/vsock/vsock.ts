import { checkWhole } from '../../../errors/operation/argument-error.js'
import type { BindingError, BindingMachine } from '../../../native/binding.cjs'
import { errorOf, unwrap } from '../../../native/native.js'
import { deferred, type Deferred } from '../../lifecycle/deferred.js'
import { isRead, readToEnd } from '../../lifecycle/last-output.js'
import { MOST_CONNECTIONS } from '../../config/virtio/vsock.js'
import { retried } from './retried.js'
import { VsockServer } from './vsock-server.js'
import { VsockStream } from './vsock-stream.js'

/** Options of {@link Vsock.connect}. */
export interface VsockConnectOptions {
  /**
   * Keeps the stream's writable side open after the guest has ended its writable side, as in
   * `net.connect`.
   *
   * @default false
   */
  readonly allowHalfOpen?: boolean | undefined
  /**
   * Waits this many milliseconds, 1 to 2147483647, for a guest that still boots: the connection is
   * tried again while the guest refuses it.
   *
   * @default one attempt, which has no time limit
   */
  readonly timeout?: number | undefined
  /** Cancels the connection when it is aborted before the guest has accepted. */
  readonly signal?: AbortSignal | undefined
}

/** Options of {@link Vsock.listen}. */
export interface VsockListenOptions {
  /**
   * Keeps a stream's writable side open after the guest has ended its writable side, as in
   * `net.createServer`.
   *
   * @default false
   */
  readonly allowHalfOpen?: boolean | undefined
  /**
   * The maximum number of connections that wait to be accepted, 1 to 1024. Option
   * `vsock.maxConnections` limits all connections of the machine together, including those that
   * wait: a larger backlog has no effect.
   *
   * @default 128
   */
  readonly backlog?: number | undefined
}

/** The largest port. Ports have 32 bits, and 2^32 - 1 means any port. */
const LAST_PORT = 2 ** 32 - 2

/** The interface of a machine for its vsock. */
interface Owner {
  readonly native: BindingMachine
  /** Throws when the machine has ended. */
  readonly check: (operation: string) => void
  readonly thrown: (error: unknown) => void
}

/**
 * The guest's AF_VSOCK, with option `vsock`: streams to ports of the guest, and ports of the host
 * to which it connects.
 *
 * @example
 * ```ts
 * import { Machine } from 'kvm-accel'
 *
 * await using machine = await Machine.create({ kernel: 'vmlinux', initrd: 'initrd.cpio', vsock: { cid: 3 } })
 * const server = machine.vsock.listen(52)
 * await machine.start()
 * for await (const stream of server) stream.pipe(stream)
 * ```
 */
export class Vsock {
  readonly #owner: Owner
  readonly #servers = new Map<number, VsockServer>()
  readonly #streams = new Set<VsockStream>()
  readonly #waiting = new Map<number, Deferred<number>>()
  #lastId = 0

  /** @internal Use {@linkcode Machine.vsock}. */
  constructor(owner: Owner) {
    this.#owner = owner
  }

  /**
   * Connects to a port of the guest. Resolves when the guest has accepted; a paused guest does not
   * accept.
   *
   * @param port 0 to 2^32 - 2.
   * @throws {@linkcode VsockError} when the guest refuses, has no driver at work, or has too many
   * connections; when it has not accepted within `timeout`.
   * @throws {@linkcode MachineConfigError} when the machine has no vsock device;
   * {@linkcode MachineStateError} when it has ended.
   * @throws {@linkcode ArgumentError} for another port; the reason of `signal` when it is aborted.
   */
  async connect(port: number, options: VsockConnectOptions = {}): Promise<VsockStream> {
    const { timeout } = options
    checkWhole('port', port, 0, LAST_PORT)
    if (timeout === undefined) return this.#connect(port, options)
    checkWhole('timeout', timeout, 1, 2 ** 31 - 1, 'milliseconds')
    return retried(signal => this.#connect(port, { ...options, signal }), { port, timeout, signal: options.signal })
  }

  async #connect(port: number, { allowHalfOpen = false, signal }: VsockConnectOptions): Promise<VsockStream> {
    this.#owner.check('vsock.connect')
    signal?.throwIfAborted()
    const id = (this.#lastId = (this.#lastId + 1) % 2 ** 32)
    const { fd, guestPort } = unwrap(this.#owner.native.connectVsock(port, id))
    // Created at once, so that it keeps the process alive, and that the device notices when the
    // caller cancels.
    const stream = this.#stream(fd, guestPort, allowHalfOpen)
    const connected = deferred<number>()
    const aborted = () => connected.reject(signal?.reason)
    this.#waiting.set(id, connected)
    signal?.addEventListener('abort', aborted, { once: true })
    stream.on('error', ignore)
    try {
      return stream.opened(await connected.promise)
    } catch (error) {
      stream.destroy()
      throw error
    } finally {
      stream.off('error', ignore)
      signal?.removeEventListener('abort', aborted)
      this.#waiting.delete(id)
    }
  }

  /**
   * Listens on a port of the host, in any run state. The server survives resets. A program of the
   * guest connects to CID 2 and this port.
   *
   * @param port 0 to 2^32 - 2.
   * @throws {@linkcode VsockError} when the port has a listener.
   * @throws {@linkcode MachineConfigError} when the machine has no vsock device;
   * {@linkcode MachineStateError} when it has ended.
   * @throws {@linkcode ArgumentError} for another port or backlog.
   */
  listen(port: number, options: VsockListenOptions = {}): VsockServer {
    const { allowHalfOpen = false, backlog = 128 } = options
    checkWhole('port', port, 0, LAST_PORT)
    checkWhole('backlog', backlog, 1, MOST_CONNECTIONS)
    this.#owner.check('vsock.listen')
    const { native, thrown } = this.#owner
    const error = native.listenVsock(port, backlog)
    if (error) throw errorOf(error)
    const server = new VsockServer(port, {
      accept: () => {
        const accepted = native.acceptVsock(port)
        return accepted && this.#stream(accepted.fd, accepted.guestPort, allowHalfOpen).opened(port)
      },
      close: () => {
        this.#servers.delete(port)
        native.unlistenVsock(port)
      },
      thrown,
    })
    this.#servers.set(port, server)
    return server
  }

  /** @internal The result of a connection attempt. */
  connected(id: number, hostPort: number, error: BindingError | undefined): void {
    const waiting = this.#waiting.get(id)
    if (error) waiting?.reject(errorOf(error))
    else waiting?.resolve(hostPort)
  }

  /** @internal The guest has connected to a port. */
  arrived(port: number): void {
    this.#servers.get(port)?.arrived()
  }

  /**
   * @internal The machine has ended. Closes every stream: at once if no program reads it, and after
   * its last byte otherwise. Resolves then.
   */
  async end(): Promise<void> {
    for (const server of this.#servers.values()) server.close()
    for (const stream of this.#streams) if (!isRead(stream)) stream.destroy()
    await readToEnd([...this.#streams])
    for (const stream of this.#streams) stream.destroy()
  }

  #stream(fd: number, guestPort: number, allowHalfOpen: boolean): VsockStream {
    const stream = new VsockStream(fd, guestPort, allowHalfOpen)
    this.#streams.add(stream)
    stream.once('close', () => this.#streams.delete(stream))
    return stream
  }
}

/** The promise of `connect()` reports the error of a stream that is not established yet. */
const ignore = () => {}
