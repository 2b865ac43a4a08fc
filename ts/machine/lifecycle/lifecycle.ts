import { MachineStateError } from '../../errors/operation/machine-state-error.js'
import type { RunState } from '../../errors/operation/run-state.js'
import type { BindingExit } from '../../native/binding.cjs'
import type { DebugEvent } from '../events/debug-event.js'
import type { DeviceErrorEvent, MachineEventMap } from '../events/events.js'
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
   * Emits an event to the user's listeners, and returns whether there is one. Does not throw:
   * {@link Lifecycle.thrown} gets what a listener throws.
   */
  emit<K extends keyof MachineEventMap>(name: K, ...args: MachineEventMap[K]): boolean
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
  /** Why this side ended the machine, if not by `stop()`. */
  #hostEnd: Pick<Exit, 'reason' | 'cause'> | undefined
  /** A listener has thrown, and the error is reported. */
  #thrown = false
  /** The failure of a handler for which the user has no listener. */
  #unhandledError: DeviceErrorEvent | undefined
  /** The user waits for the end, and therefore gets its cause. */
  #awaited = false
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
    this.#awaited = true
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
    const { reason, cause } = this.#hostEnd ?? {}
    const because = {
      aborted: ': its signal was aborted',
      'handler-error': ': a handler or a listener failed',
    } as const
    const why = reason === 'aborted' || reason === 'handler-error' ? because[reason] : ''
    const message = `${operation}() is not possible: the machine has ended${why}`
    const remedy = 'Create a new machine with Machine.create().'
    return new MachineStateError(message, { state: 'shutdown', allowed: [], remedy, cause })
  }

  /**
   * Ends the machine because a listener threw. Throws the first such error again where Node.js
   * handles uncaught exceptions: the events of the end call the same listener again.
   */
  thrown(error: unknown): void {
    if (!this.#thrown) {
      process.nextTick(() => {
        throw error
      })
    }
    this.#thrown = true
    this.#end('handler-error', error)
  }

  /**
   * Reports that a handler which a vCPU waits for has failed. Ends the machine if `ends` is set. The
   * error is a warning of the process if nothing else would show it.
   */
  handlerFailed(event: DeviceErrorEvent, ends: boolean): void {
    const handled = this.#followers.emit('device-error', event)
    if (!ends) return
    if (!handled) this.#unhandledError ??= event
    this.#end('handler-error', event.error)
  }

  /** Mirrors an event of the control thread, and emits it. */
  take(event: LifecycleEvent): void {
    switch (event.kind) {
      case 'resume':
        this.#state = 'running'
        this.#keepAlive(this.#choice ?? true)
        this.#forgetExit()
        return void this.#followers.emit('resume')
      case 'stop':
        return this.#stopped(event.state as RunState, event.exit)
      case 'debug':
        return void this.#followers.emit('debug', debugEvent(event.stop))
      case 'reset':
        this.#state = event.state as RunState
        if (!event.guest) this.#forgetExit()
        if (this.#state === 'prelaunch') this.#keepAlive(this.#choice ?? false)
        return void this.#followers.emit('reset', { guest: event.guest })
      case 'shutdown':
        return this.#shutDown(event.reason as Exit['reason'], event.exit)
      case 'closed':
        return this.#gone()
      default:
        event satisfies never
    }
  }

  #abort = (): void => this.#end('aborted', this.#signal?.reason)

  #end(reason: Exit['reason'], cause: unknown): void {
    if (this.#closed) return
    this.#hostEnd ??= { reason, cause }
    void this.stop()
  }

  /** Converts an exit, with the cause if this side ended the machine. */
  #exitOf(ended: BindingExit): Exit {
    const exit = exitOf(ended)
    return exit.reason === 'host-quit' ? { ...exit, ...this.#hostEnd } : exit
  }

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
   * Begins the end of the machine: further commands are refused. Resolves when all resources of
   * the machine are released.
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
    if (!ended) return void this.#followers.emit('stop', { state })
    const exit = this.#exitOf(ended)
    this.#exit = exit
    // Event `shutdown` follows.
    if (state === 'shutdown') return void this.#followers.emit('stop', { state, exit })
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
    this.#exit ??= this.#exitOf(ended)
    if (this.#noShutdown) {
      this.#keepAlive(false)
      this.#resolveExit(this.#exit, false)
    } else void this.#close()
    this.#followers.emit('shutdown', { reason: reason === 'host-quit' ? (this.#hostEnd?.reason ?? reason) : reason })
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
    if (this.#unhandledError && !this.#awaited) {
      const { device, error } = this.#unhandledError
      process.emitWarning(error instanceof Error ? error : `a handler of ${device} failed: ${String(error)}`)
    }
    this.#state = 'shutdown'
    // Without an exit the control thread itself has failed: otherwise it reports how the machine
    // ended.
    const exit = this.#exit ?? this.#exitOf({ reason: 'host-quit' })
    void this.#followers.ended().finally(() => {
      this.#closed?.resolve()
      this.#ended.resolve(exit)
    })
  }
}
