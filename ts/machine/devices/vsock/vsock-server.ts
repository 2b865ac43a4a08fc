import { EventEmitter } from 'node:events'
import { deferred, type Deferred } from '../../lifecycle/deferred.js'
import type { VsockStream } from './vsock-stream.js'

/** What a {@link VsockServer} emits. */
export interface VsockServerEvents {
  /** The guest has connected. */
  connection: [VsockStream]
  /** It listens no more: {@link VsockServer.close} was called, or the machine has ended. */
  close: []
}

/** What a server needs of its machine. */
interface Source {
  readonly accept: () => VsockStream | null
  readonly close: () => void
  /** What a listener of `connection` threw. */
  readonly thrown: (error: unknown) => void
}

/**
 * A port of the host to which the guest connects, much as a `net.Server`: connections come by the event `connection`, or one by one to
 * `for await`. Those that nobody takes wait, at most `backlog` of them; then the guest is refused.
 *
 * It stays over resets of the machine, and keeps the process alive as long as the machine does.
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

  /** Listens no more. Connections that were taken stay; those that wait are closed. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#source.close()
    this.#wake()
    process.nextTick(() => this.emit('close'))
  }

  /** {@linkcode VsockServer.close}. */
  [Symbol.dispose](): void {
    this.close()
  }

  /** Connections, until the server is closed. Leaving the loop does not close it. */
  async *[Symbol.asyncIterator](): AsyncGenerator<VsockStream, void, undefined> {
    while (!this.#closed) {
      const stream = this.#source.accept()
      if (stream) yield stream
      else await (this.#arrival ??= deferred()).promise
    }
  }

  /** @internal There may be something to accept. */
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
