import { EventEmitter } from 'node:events'
import { deferred, type Deferred } from '../../lifecycle/deferred.js'
import type { VsockStream } from './vsock-stream.js'

/** Events of a {@link VsockServer}. */
export interface VsockServerEvents {
  /** The guest has connected. */
  connection: [VsockStream]
  /**
   * The server no longer listens: {@link VsockServer.close} was called, or the machine has ended.
   */
  close: []
}

/** The interface of a machine for its servers. */
interface Source {
  readonly accept: () => VsockStream | null
  readonly close: () => void
  /** Handles an exception of a listener of `connection`. */
  readonly thrown: (error: unknown) => void
}

/**
 * A port of the host to which the guest connects, similar to a `net.Server`. Connections are
 * delivered by the event `connection`, or one by one to `for await`. At most `backlog` connections
 * wait; the guest's further connections are refused.
 *
 * A server survives resets of the machine. It does not keep the process alive by itself; the
 * machine does.
 */
export class VsockServer extends EventEmitter<VsockServerEvents> {
  /** The host's port. */
  readonly port: number
  readonly #source: Source
  #arrival: Deferred<void> | undefined
  #closed = false

  /** @internal Use {@linkcode Vsock.listen}. */
  constructor(port: number, source: Source) {
    super()
    this.port = port
    this.#source = source
    // Connections may have waited for a listener.
    ;(this as EventEmitter).on('newListener', (name: string) => {
      if (name === 'connection') setImmediate(() => this.arrived())
    })
  }

  /** Stops listening. Delivered connections stay open; connections that wait are closed. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#source.close()
    this.#wake()
    process.nextTick(() => this.emit('close'))
  }

  /** Calls {@linkcode VsockServer.close}. */
  [Symbol.dispose](): void {
    this.close()
  }

  /**
   * Iterates over connections until the server is closed. Leaving the loop does not close the
   * server.
   */
  async *[Symbol.asyncIterator](): AsyncGenerator<VsockStream, void, undefined> {
    while (!this.#closed) {
      const stream = this.#source.accept()
      if (stream) yield stream
      else await (this.#arrival ??= deferred()).promise
    }
  }

  /** @internal A connection may wait. */
  arrived(): void {
    try {
      while (!this.#closed && this.listenerCount('connection') > 0) {
        const stream = this.#source.accept()
        if (!stream) break
        this.emit('connection', stream)
      }
    } catch (error) {
      this.#source.thrown(error)
    }
    this.#wake()
  }

  #wake(): void {
    this.#arrival?.resolve()
    this.#arrival = undefined
  }
}
