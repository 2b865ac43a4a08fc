import { MachineStateError } from '../../errors/operation/machine-state-error.js'
import type { RunState } from '../../errors/operation/run-state.js'
import type { BindingExit } from '../../native/binding.cjs'
import type { DebugEvent } from '../events/debug-event.js'
import type { MachineEventMap } from '../events/events.js'
import type { Exit } from '../events/exit.js'
import { debugEvent, exitOf } from '../events/from-native.js'
import type { NormalMachineOptions } from '../config/normal-options.js'
import type { Control, ControlEvent } from './control.js'
import { deferred, type Deferred } from './deferred.js'

type LifecycleEventKind = 'resume' | 'stop' | 'debug' | 'reset' | 'shutdown' | 'closed'

/** An event that changes the run state. */
export type LifecycleEvent = Extract<ControlEvent, { kind: LifecycleEventKind }>

/** The parts of a machine that follow its lifecycle. */
export interface Followers {
  /**
   * Emits an event to the user's listeners. Does not throw: {@link Lifecycle.thrown} gets what a
   * listener throws.
   */
  emit<K extends keyof MachineEventMap>(name: K, ...args: MachineEventMap[K]): void
  /** Sets whether the ports of the machine keep the process alive. */
  keepAlive(alive: boolean): void
  /** The machine is ending. Called once. */
  ending(): void
  /**
   * The guest has stopped, and the machine stays. `failed` is true in `internal-error`. Resolves when
   * the readers of the ports have the guest's output.
   */
  guestStopped(failed: boolean): Promise<void>
  /** The machine was reset after the guest had stopped. */
  restarted(): void
  /** The machine has ended. Resolves when its ports are closed. */
  ended(): Promise<void>
}

/**
 * The lifecycle of one machine. It mirrors the run state of the control thread from events, and
 * sends the commands that change it.
 *
 * Order of an end: `ending` (further commands are refused), event `closed`, `ended`, and then
 * {@link Lifecycle.stop} and {@link Lifecycle.wait} resolve: every resource is free.
 */
export class Lifecycle {
  readonly #control: Control
  readonly #noShutdown: boolean
  readonly #signal: AbortSignal | null
  readonly #followers: Followers
  #state: RunState = 'prelaunch'
  #ended = deferred<Exit>()
  #exit: Exit | undefined
  /** The user's choice by `ref()` or `unref()`; undefined before the first call. */
  #choice: boolean | undefined
  /**
   * The pause that a second `pause()` waits for; undefined when another command that changes the
   * run state has followed it.
   */
  #pausing: Promise<void> | undefined
  /** Set when the machine is ending. Resolves when its threads, memory and ports are gone. */
  #closed: Deferred<void> | undefined

  constructor(control: Control, { noShutdown, signal }: NormalMachineOptions, followers: Followers) {
    this.#control = control
    this.#noShutdown = noShutdown
    this.#signal = signal
    this.#followers = followers
    signal?.addEventListener('abort', this.#abort, { once: true })
  }

  /** The run state as of the last event. */
  get state(): RunState {
    return this.#state
  }

  start(): Promise<void> {
    return this.#run('start')
  }

  resume(): Promise<void> {
    return this.#run('resume')
  }

  pause(): Promise<void> {
    // The vCPU that waits for a nested caller stops only after the caller's answer: the control
    // thread replies before that stop.
    if (this.#control.nested) return this.#command('pause')
    if (!this.#pausing) {
      const over = () => {
        if (this.#pausing === pause.promise) this.#pausing = undefined
      }
      const pause = { promise: undefined as Promise<void> | undefined }
      pause.promise = this.#pausing = this.#command('pause', over, over)
    }
    return this.#pausing
  }

  reset(): Promise<void> {
    return this.#command('reset')
  }

  async stop(): Promise<void> {
    const closed = this.#close()
    this.#control.end()
    await closed
  }

  wait(): Promise<Exit> {
    return this.#ended.promise
  }

  /** Lets one vCPU execute one instruction. Resolves when the machine has stopped again. */
  step(vcpu: number): Promise<DebugEvent | undefined> {
    this.#pausing = undefined
    return this.#control.call({
      operation: 'debug.step',
      command: { kind: 'step', vcpu },
      reply: 'stepped',
      map: ({ stop }) => stop && debugEvent(stop),
      failed: this.#begin(),
    })
  }

  /** Sets the user's choice whether the machine keeps the process alive. */
  keepAlive(alive: boolean): void {
    this.#choice = alive
    this.#keepAlive(alive)
  }

  /**
   * Checks that the machine has not ended and is not ending.
   *
   * @throws `MachineStateError` that names `operation`.
   */
  check(operation: string): void {
    if (this.#closed) throw this.endedError(operation)
  }

  /** Returns the error of an operation on a machine that has ended. */
  endedError(operation: string): MachineStateError {
    const message = `${operation}() is not possible: the machine has ended`
    const remedy = 'Create a new machine with Machine.create().'
    return new MachineStateError(message, { state: 'shutdown', allowed: [], remedy })
  }

  /**
   * Ends the machine because the user's code threw. Throws the error again where Node.js handles
   * uncaught exceptions.
   */
  thrown(error: unknown): void {
    process.nextTick(() => {
      throw error
    })
    if (!this.#closed) void this.stop()
  }

  /** Mirrors an event of the control thread, and emits it. */
  take(event: LifecycleEvent): void {
    switch (event.kind) {
      case 'resume':
        this.#state = 'running'
        this.#keepAlive(this.#choice ?? true)
        this.#forgetExit()
        return this.#followers.emit('resume')
      case 'stop':
        return this.#stopped(event.state as RunState, event.exit)
      case 'debug':
        return this.#followers.emit('debug', debugEvent(event.stop))
      case 'reset':
        this.#state = event.state as RunState
        if (!event.guest) this.#forgetExit()
        if (this.#state === 'prelaunch') this.#keepAlive(this.#choice ?? false)
        return this.#followers.emit('reset', { guest: event.guest })
      case 'shutdown':
        return this.#shutDown(event.reason as Exit['reason'], event.exit)
      case 'closed':
        return this.#gone()
      default:
        event satisfies never
    }
  }

  #abort = (): void => void this.stop()

  #command(kind: 'start' | 'resume' | 'pause' | 'reset', failed = () => {}, done = () => {}): Promise<void> {
    if (kind !== 'pause') this.#pausing = undefined
    return this.#control.call({ operation: kind, command: { kind }, reply: 'done', map: done, failed })
  }

  #run(kind: 'start' | 'resume'): Promise<void> {
    return this.#command(kind, this.#begin())
  }

  /**
   * Keeps the process alive for a machine that is about to run. The returned function undoes that
   * when the command is refused.
   */
  #begin(): () => void {
    this.#keepAlive(this.#choice ?? true)
    // Reads the state again: it may have changed since the call.
    return () => this.#keepAlive(this.#exit === undefined && (this.#choice ?? this.#state !== 'prelaunch'))
  }

  /**
   * Begins the end of the machine: further commands are refused. Resolves when everything of the
   * machine is gone.
   */
  #close(): Promise<void> {
    if (!this.#closed) {
      this.#closed = deferred()
      this.#signal?.removeEventListener('abort', this.#abort)
      this.#followers.ending()
      this.#control.ending(operation => this.endedError(operation))
    }
    return this.#closed.promise
  }

  #keepAlive(alive: boolean): void {
    if (this.#closed) return
    this.#control.keepsAlive = alive
    this.#followers.keepAlive(alive)
  }

  /** All vCPUs are outside the guest. */
  #stopped(state: RunState, ended: BindingExit | undefined): void {
    this.#state = state
    // From here on the control thread refuses a pause.
    this.#pausing = undefined
    if (!ended) return this.#followers.emit('stop', { state })
    const exit = exitOf(ended)
    this.#exit = exit
    // Event `shutdown` follows.
    if (state === 'shutdown') return this.#followers.emit('stop', { state, exit })
    // A machine that stays for inspection does not keep the process alive.
    this.#keepAlive(false)
    this.#resolveExit(exit, state === 'internal-error')
    this.#followers.emit('stop', { state, exit })
  }

  /** Resolves `wait()` of a machine that stays, after the readers of its ports have its output. */
  #resolveExit(exit: Exit, failed: boolean): void {
    // A reset begins another wait.
    const { resolve } = this.#ended
    void this.#followers.guestStopped(failed).finally(() => resolve(exit))
  }

  #shutDown(reason: Exit['reason'], ended: BindingExit): void {
    this.#state = 'shutdown'
    this.#exit ??= exitOf(ended)
    if (this.#noShutdown) {
      this.#keepAlive(false)
      this.#resolveExit(this.#exit, false)
    } else void this.#close()
    this.#followers.emit('shutdown', { reason })
  }

  /** The machine runs again or was reset: `wait()` waits for its next exit. */
  #forgetExit(): void {
    if (!this.#exit) return
    this.#exit = undefined
    this.#ended = deferred()
    this.#followers.restarted()
  }

  #gone(): void {
    void this.#close()
    this.#state = 'shutdown'
    // Without an exit the control thread itself has failed: otherwise it reports how the machine
    // ended.
    const exit = this.#exit ?? { reason: 'host-quit' }
    void this.#followers.ended().finally(() => {
      this.#closed?.resolve()
      this.#ended.resolve(exit)
    })
  }
}
