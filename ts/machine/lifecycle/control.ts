import { AsyncLocalStorage } from 'node:async_hooks'
import { Socket } from 'node:net'
import type { MachineStateError } from '../../errors/operation/machine-state-error.js'
import { fromNative } from '../../errors/from-native.js'
import type { BindingCommand, BindingEvent, BindingMachine, BindingReply } from '../../native/binding.cjs'
import { errorOf } from '../../native/native.js'
import { deferred, type Deferred } from './deferred.js'

/** An event of a machine. {@link Control} handles replies itself. */
export type ControlEvent = Exclude<BindingEvent, { kind: 'reply' }>

/** The reply of this kind. */
export type Reply<K extends BindingReply['kind']> = Extract<BindingReply, { kind: K }>

/** A command, and the handlers of its reply. */
export interface Call<K extends BindingReply['kind'], T> {
  /** The name of the operation, for the error when the machine has ended. */
  readonly operation: string
  readonly command: BindingCommand
  readonly reply: K
  /** Converts the reply. Runs before any event that happened after the reply is emitted. */
  readonly map: (reply: Reply<K>) => T
  /** Runs when the command fails, before the promise rejects. */
  readonly failed?: () => void
}

interface Pending {
  readonly settle: (value: BindingReply) => void
  readonly fail: (reason: unknown) => void
  readonly promise: Promise<unknown>
}

/** The id of the reply to the creation of a machine. */
const CREATION = 0

/**
 * JavaScript's end of a machine's control thread. It sends commands, settles their promises, and
 * passes events on in the order in which they happened.
 *
 * The wake socket keeps the process alive while {@link Control.keepsAlive} is set, and while a
 * reply is pending.
 */
export class Control {
  /**
   * The native machine, for calls that need no control thread: counters, statistics, serial input,
   * answers.
   */
  readonly native: BindingMachine
  readonly #wake: Socket
  readonly #pending = new Map<number, Pending>()
  readonly #callbacks = new AsyncLocalStorage<{ open: boolean }>()
  /**
   * Commands that wait for the second half of an {@link Control.exchange}; undefined when no
   * exchange is in progress.
   */
  #gate: (() => void)[] | undefined
  #events: ControlEvent[] | undefined = []
  #emit: (event: ControlEvent) => void = () => {}
  #taken: () => void = () => {}
  #keepsAlive = false
  #ending: ((operation: string) => MachineStateError) | undefined

  constructor(native: BindingMachine) {
    this.native = native
    this.#wake = new Socket({ fd: native.takeWakeFd(), readable: true, writable: false })
    this.#wake.on('data', () => this.#take())
    this.#wake.on('error', () => {})
  }

  /**
   * Asks the control thread to create the machine of `config`, which `toNative` returned.
   *
   * @throws the error of an invalid configuration.
   */
  create(config: string): void {
    const error = this.native.create(config)
    if (error) throw errorOf(error)
  }

  /** Resolves when the machine exists; rejects with the error of its creation. */
  created(): Promise<Reply<'created'>> {
    return this.#expect<Reply<'created'>>(CREATION, reply => reply as Reply<'created'>)
  }

  /**
   * Passes events to `emit` from the next turn of the event loop on, so that the creator of a
   * machine can add listeners first. Earlier events are passed then. `taken` runs after each batch.
   */
  listen(emit: (event: ControlEvent) => void, taken: () => void): void {
    this.#emit = emit
    this.#taken = taken
    setImmediate(() => this.#flush())
  }

  /** Sends a command. The promise settles with its reply. */
  call<K extends BindingReply['kind'], T>(call: Call<K, T>): Promise<T> {
    const result = deferred<T>()
    const nested = this.nested
    const send = () => this.#send(call, nested, result)
    if (this.#gate && !nested) {
      this.#gate.push(() => {
        this.#excuse(result.promise)
        send()
      })
    } else send()
    return result.promise
  }

  /**
   * Runs an operation that makes several calls, or checks arguments before a call. As with a single
   * call, the caller need not handle its rejection when the machine was ended meanwhile.
   */
  whole<T>(operation: () => Promise<T>): Promise<T> {
    const result = deferred<T>()
    const endedBefore = this.#ending !== undefined
    operation().then(result.resolve, (reason: unknown) => {
      if (!endedBefore) this.#excuse(result.promise)
      result.reject(reason)
    })
    return result.promise
  }

  /**
   * Sends a command, and then a second command that `first.map` makes from the reply. No command of
   * the same caller comes between them.
   */
  exchange<K extends BindingReply['kind']>(first: Omit<Call<K, BindingCommand>, 'failed'>): Promise<void> {
    const result = deferred<void>()
    const nested = this.nested
    const run = () => {
      const open = () => {
        // A nested command does not use the gate: the machine runs, so that the control thread
        // refuses it.
        if (nested) return
        const waiting = this.#gate ?? []
        this.#gate = undefined
        // A command may start an exchange, which closes the gate again: the remaining commands then
        // wait for that exchange.
        for (const send of waiting) {
          const gate = this.#gate as (() => void)[] | undefined
          if (gate) gate.push(send)
          else send()
        }
      }
      if (!nested) this.#gate ??= []
      const map = (reply: Reply<K>) => {
        try {
          const command = first.map(reply)
          this.#excuse(result.promise)
          this.#send({ operation: first.operation, command, reply: 'done', map: () => {} }, nested, result)
        } catch (error) {
          result.reject(error)
        } finally {
          open()
        }
      }
      const looked = deferred<void>()
      this.#send({ ...first, map, failed: open }, nested, looked)
      looked.promise.catch((reason: unknown) => {
        this.#excuse(result.promise)
        result.reject(reason)
      })
    }
    if (this.#gate && !nested) this.#gate.push(run)
    else run()
    return result.promise
  }

  /** True inside a callback that a vCPU waits for. */
  get nested(): boolean {
    return this.#callbacks.getStore()?.open === true
  }

  /**
   * Runs user code that a vCPU waits for (a device or an MSR in JavaScript). The machine runs
   * meanwhile. A command that needs a stopped machine is refused at once: waiting for that vCPU
   * would deadlock. `handle` never rejects.
   */
  answering(handle: () => Promise<void>): void {
    const callback = { open: true }
    void this.#callbacks.run(callback, handle).finally(() => (callback.open = false))
  }

  /** Sets whether the machine keeps the process alive. */
  set keepsAlive(alive: boolean) {
    this.#keepsAlive = alive
    this.#refresh()
  }

  /** Refuses further commands with the error that `error` returns for the name of an operation. */
  ending(error: (operation: string) => MachineStateError): void {
    this.#ending ??= error
    this.#refresh()
  }

  /** Ends the machine in any run state. Event `closed` follows. */
  end(): void {
    this.native.close()
  }

  #send<K extends BindingReply['kind'], T>(call: Call<K, T>, nested: boolean, result: Deferred<T>): void {
    const { operation, command, map, failed } = call
    try {
      if (this.#ending) throw this.#ending(operation)
      const id = this.native.send(command, nested)
      if (typeof id === 'string') throw errorOf(id)
      if (id === 0) throw fromNative({ ...ENDED, message: `${operation}() is not possible: the machine has ended` })
      this.#expect(id, reply => map(reply as Reply<K>), result, failed)
    } catch (error) {
      failed?.()
      result.reject(error)
    }
  }

  #expect<T>(
    id: number,
    map: (reply: BindingReply) => T,
    result: Deferred<T> = deferred(),
    failed?: () => void,
  ): Promise<T> {
    this.#pending.set(id, {
      settle: reply => {
        try {
          result.resolve(map(reply))
        } catch (error) {
          result.reject(error)
        }
      },
      fail: reason => {
        failed?.()
        result.reject(reason)
      },
      promise: result.promise,
    })
    this.#refresh()
    return result.promise
  }

  #take(): void {
    for (const event of this.native.take()) {
      if (event.kind === 'reply') {
        // Emit the events that happened before the reply first. The sender of a command has added
        // its listeners.
        if (event.id !== CREATION) this.#flush()
        this.#settle(event)
      } else if (this.#events) this.#events.push(event)
      else this.#deliver(event)
    }
    this.#taken()
  }

  #flush(): void {
    const events = this.#events ?? []
    this.#events = undefined
    for (const event of events) this.#deliver(event)
  }

  #deliver(event: ControlEvent): void {
    if (event.kind === 'closed') {
      this.#gate = undefined
      this.#wake.destroy()
    }
    this.#emit(event)
  }

  #settle({ id, value, error }: Extract<BindingEvent, { kind: 'reply' }>): void {
    const pending = this.#pending.get(id)
    this.#pending.delete(id)
    this.#refresh()
    if (!pending) return
    if (value) return pending.settle(value)
    this.#excuse(pending.promise)
    pending.fail(errorOf(error!))
  }

  /**
   * The caller that ended the machine expects its other operations to fail: their rejections must
   * not end the process.
   */
  #excuse(promise: Promise<unknown>): void {
    if (this.#ending) promise.catch(() => {})
  }

  #refresh(): void {
    if (this.#keepsAlive || this.#ending || this.#pending.size > 0) this.#wake.ref()
    else this.#wake.unref()
  }
}

const ENDED = { code: 'ERR_MACHINE_STATE', remedy: 'Create a new machine with Machine.create().', state: 'shutdown' }
