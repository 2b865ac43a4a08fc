import type { EventEmitter } from 'node:events'
import { MachineStateError } from '../errors/machine-state-error.js'
import type { BindingExit } from '../native/binding.cjs'
import { debugEvent } from '../native/from-native.js'
import type { AccelProperties } from '../properties/types.js'
import { createMachine, type CreatedMachine } from './create.js'
import type { ControlEvent } from './control.js'
import type { DebugEvent } from './debug/breakpoint.js'
import { deferred, type Deferred } from './deferred.js'
import { EquippedMachine } from './equipped-machine.js'
import type { Exit } from './exit.js'
import type { MachineEventMap } from './events.js'
import { normaliseMachineOptions, type NormalMachineOptions } from './config/normal-options.js'
import type { NotifyDrill } from './notify-event.js'
import type { MachineOptions } from './config/machine-options.js'
import type { RunState } from './run-state.js'

/**
 * A virtual machine on /dev/kvm. A native control thread owns it, each vCPU has a thread of its own, and devices are native; events
 * arrive here. No method blocks the event loop, and the commands of one machine are executed in the order of their calls.
 *
 * A running or paused machine keeps the process alive until it ends ({@linkcode Machine.unref} changes that). Whatever ends
 * the process, the worker or the `using` scope ends the machine.
 *
 * @example
 * ```ts
 * import { Machine, guestImage } from 'kvm-accel'
 *
 * await using machine = await Machine.create({
 *   accel: 'kvm,notify-vmexit=internal-error',
 *   memory: '16M',
 *   kernel: guestImage('hello'),
 *   serial: 'stdio',
 *   noReboot: true,
 * })
 * machine.on('notify', event => console.error(event.instruction))
 * await machine.start()
 * console.log((await machine.wait()).reason)
 * ```
 */
export class Machine extends EquippedMachine {
  readonly #options: NormalMachineOptions
  #state: RunState = 'prelaunch'
  #ended = deferred<Exit>()
  #exit: Exit | undefined
  /** What the user asked for by `ref()` or `unref()`. */
  #wish: boolean | undefined
  /** The last command that changes the run state is this pause. */
  #pausing: Promise<void> | undefined
  /** The machine is ending; resolves when nothing of it is left. */
  #closed: Deferred<void> | undefined

  /** @internal Use {@linkcode Machine.create}. */
  private constructor(native: CreatedMachine, options: NormalMachineOptions, properties: AccelProperties) {
    super(native, options, properties)
    this.#options = options
    this.#keepAlive(false)
  }

  /**
   * Creates a machine: the images are loaded, the vCPUs exist and wait for {@linkcode Machine.start}. Option `signal` cancels it at any
   * moment.
   *
   * @throws {@linkcode MachineConfigError}, {@linkcode AccelPropertyError}, {@linkcode AcceleratorError}: the options.
   * @throws {@linkcode GuestImageError}: the kernel or the initrd.
   * @throws {@linkcode KvmUnavailableError}, {@linkcode KvmCapabilityError}, {@linkcode KvmIoctlError},
   * {@linkcode NotifyUnsupportedError}: the host.
   */
  static async create(options: MachineOptions): Promise<Machine> {
    const normal = normaliseMachineOptions(options)
    normal.signal?.throwIfAborted()
    const created = await createMachine(normal)
    const machine = new Machine(created, normal, created.properties)
    normal.signal?.addEventListener('abort', machine.#abort, { once: true })
    await machine.#connect()
    // As the control thread's events: in the next turn of the event loop, when the caller has added its listeners.
    setImmediate(() => {
      for (const skipped of normal.accel.warnings) machine.tell('warning', skipped)
    })
    return machine
  }

  /** The run state, by QEMU's name, as of the last event. */
  override get state(): RunState {
    return this.#state
  }

  /**
   * Lets the guest run: `prelaunch` to `running`.
   *
   * @throws {@linkcode MachineStateError} in any other state.
   */
  start(): Promise<void> {
    return this.#run('start')
  }

  /**
   * Lets the guest run on: `paused`, `debug`, `guest-panicked` or `prelaunch` to `running`.
   *
   * @throws {@linkcode MachineStateError} in any other state.
   */
  resume(): Promise<void> {
    return this.#run('resume')
  }

  /**
   * Takes all vCPUs out of the guest: `running` to `paused`. Resolves when they are out, every device has finished what it was doing, and
   * guest memory no longer changes. A guest that stops for a reason of its own meanwhile keeps that state. A second call waits for the
   * first, unless another command comes between them. A vCPU that waits for a handler in JavaScript leaves the guest after its answer.
   *
   * @throws {@linkcode MachineStateError} unless the machine runs.
   * @throws {@linkcode KvmAccelError} with code `ERR_DEVICE_BUSY` when a device is still busy after 10 seconds; the machine then
   * goes on running.
   */
  pause(): Promise<void> {
    // The vCPU that waits for a nested caller stops only after the caller's answer: the reply comes when it has been asked to.
    if (this.control.nested) return this.#command('pause')
    if (!this.#pausing) {
      const over = () => {
        if (this.#pausing === pause.promise) this.#pausing = undefined
      }
      const pause = { promise: undefined as Promise<void> | undefined }
      pause.promise = this.#pausing = this.#command('pause', over, over)
    }
    return this.#pausing
  }

  /**
   * Puts the machine back to power-on. A running one goes on running; any other is then in `prelaunch` until
   * {@linkcode Machine.start}. Memory that no image covers keeps its contents.
   *
   * @throws what {@linkcode Machine.create} throws, when an image is gone, the kernel refuses a state, or guest memory is lost. The
   * machine is then in `internal-error`.
   */
  reset(): Promise<void> {
    return this.#command('reset')
  }

  /**
   * Ends the machine, whatever it does, and resolves when its threads have ended and its memory is unmapped. Allowed in every
   * state; a second call waits for the first. Commands that are not done are refused.
   */
  async stop(): Promise<void> {
    const closed = this.#close()
    this.control.end()
    await closed
  }

  /** Resolves when the machine has ended, or stopped in `internal-error`. */
  wait(): Promise<Exit> {
    return this.#ended.promise
  }

  /**
   * Sends an NMI to every vCPU, as QEMU's `inject-nmi`: it is taken where the guest has its local APIC deliver NMIs at LINT1. Linux
   * does so on its first processor. A machine that does not run takes it when it goes on.
   *
   * @throws {@linkcode MachineStateError} in `internal-error` and `shutdown`.
   */
  injectNmi(): Promise<void> {
    return this.control.call({
      operation: 'injectNmi',
      command: { kind: 'inject-nmi' },
      reply: 'done',
      map: () => {},
    })
  }

  /**
   * The drill: a vCPU treats its next interruption as a notify VM exit, with this machine's policy, on any host. The event is
   * marked `injected`.
   *
   * @throws RangeError when there is no such vCPU, or 64 injections already wait for it.
   * @throws {@linkcode MachineStateError} unless the machine runs.
   */
  injectNotify(drill: NotifyDrill = {}): Promise<void> {
    return this.control.whole(() => this.#injectNotify(drill))
  }

  async #injectNotify({ vcpu = 0, contextInvalid = false }: NotifyDrill): Promise<void> {
    if (!Number.isInteger(vcpu) || vcpu < 0 || vcpu >= this.#options.cpus) {
      throw new RangeError(`There is no vCPU ${vcpu}: this machine has ${this.#options.cpus}, counted from 0`)
    }
    const accepted = await this.control.call({
      operation: 'injectNotify',
      command: { kind: 'inject-notify', vcpu, contextInvalid },
      reply: 'injected',
      map: ({ accepted }) => accepted,
    })
    if (!accepted) throw new RangeError(`vCPU ${vcpu} has not taken the 64 injections before this one`)
  }

  /** The machine keeps the process alive while it has not ended (the default from its start on). */
  ref(): this {
    this.#wish = true
    this.#keepAlive(true)
    return this
  }

  /** The process may end, and the machine with it, in every run state until {@linkcode Machine.ref}. */
  unref(): this {
    this.#wish = false
    this.#keepAlive(false)
    return this
  }

  /** {@linkcode Machine.stop}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  /** @internal */
  protected override alive(operation: string): void {
    if (this.#closed) throw this.endedError(operation)
  }

  /** @internal */
  protected override endedError(operation: string): MachineStateError {
    const message = `${operation}() is not possible: the machine has ended`
    const remedy = 'Create a new machine with Machine.create().'
    return new MachineStateError(message, { state: 'shutdown', allowed: [], remedy })
  }

  /** @internal */
  protected override over(): Promise<unknown> {
    return this.#ended.promise
  }

  #abort = (): void => void this.stop()

  #command(kind: 'start' | 'resume' | 'pause' | 'reset', failed = () => {}, done = () => {}): Promise<void> {
    if (kind !== 'pause') this.#pausing = undefined
    return this.control.call({ operation: kind, command: { kind }, reply: 'done', map: done, failed })
  }

  #run(kind: 'start' | 'resume'): Promise<void> {
    return this.#command(kind, this.#begin())
  }

  /** The machine is about to run and keeps the process alive; the returned function is called when it is refused. */
  #begin(): () => void {
    this.#keepAlive(this.#wish ?? true)
    // The state may be another one than at the call.
    return () => this.#keepAlive(this.#exit === undefined && (this.#wish ?? this.#state !== 'prelaunch'))
  }

  /** @internal */
  protected override step(vcpu: number): Promise<DebugEvent | undefined> {
    this.#pausing = undefined
    return this.control.call({
      operation: 'debug.step',
      command: { kind: 'step', vcpu },
      reply: 'stepped',
      map: ({ stop }) => stop && debugEvent(stop),
      failed: this.#begin(),
    })
  }

  /** Connects the ports, which may take long. Events wait until the caller has the machine. */
  async #connect(): Promise<void> {
    const { signal } = this.#options
    const listen = () =>
      this.control.listen(
        event => this.#take(event),
        () => this.traces.wake(),
      )
    try {
      await this.ports.connect(signal)
      signal?.throwIfAborted()
    } catch (error) {
      listen()
      await this.stop()
      throw error
    }
    listen()
  }

  /** Nothing more is done with the machine, which ends. */
  #close(): Promise<void> {
    if (!this.#closed) {
      this.#closed = deferred()
      this.#options.signal?.removeEventListener('abort', this.#abort)
      this.devices.end()
      this.msrs.end()
      this.control.ending(operation => this.endedError(operation))
    }
    return this.#closed.promise
  }

  #keepAlive(alive: boolean): void {
    if (this.#closed) return
    this.control.keepsAlive = alive
    this.ports.keepAlive(alive)
  }

  /** @internal Emits. */
  protected override tell<K extends keyof MachineEventMap>(name: K, ...args: MachineEventMap[K]): void {
    try {
      ;(this as EventEmitter).emit(name, ...args)
    } catch (error) {
      this.thrown(error)
    }
  }

  /** @internal The user's code threw: the machine ends, and the error goes where uncaught errors go. */
  protected override thrown(error: unknown): void {
    process.nextTick(() => {
      throw error
    })
    if (!this.#closed) void this.stop()
  }

  #take(event: ControlEvent): void {
    switch (event.kind) {
      case 'resume':
        this.#state = 'running'
        this.#keepAlive(this.#wish ?? true)
        this.#begun()
        return this.tell('resume')
      case 'stop':
        return this.#stopped(event.state as RunState, event.exit)
      case 'debug':
        return this.tell('debug', debugEvent(event.stop))
      case 'reset':
        this.#state = event.state as RunState
        if (!event.guest) this.#begun()
        if (this.#state === 'prelaunch') this.#keepAlive(this.#wish ?? false)
        return this.tell('reset', { guest: event.guest })
      case 'shutdown':
        return this.#shutDown(event.reason as Exit['reason'], event.exit)
      case 'closed':
        return this.#gone()
      default:
        return this.deliver(event)
    }
  }

  /** All vCPUs are outside the guest. */
  #stopped(state: RunState, ended: BindingExit | undefined): void {
    this.#state = state
    // From here on a pause is refused.
    this.#pausing = undefined
    if (!ended) return this.tell('stop', { state })
    const exit = publicExit(ended)
    this.#exit = exit
    // Event `shutdown` follows.
    if (state === 'shutdown') return this.tell('stop', { state, exit })
    // A machine that stays for inspection lets the process end.
    this.#keepAlive(false)
    this.tell('stop', { state, exit })
    this.#ended.resolve(exit)
  }

  #shutDown(reason: Exit['reason'], ended: BindingExit): void {
    this.#state = 'shutdown'
    this.#exit ??= publicExit(ended)
    if (this.#options.noShutdown) this.#keepAlive(false)
    else void this.#close()
    this.tell('shutdown', { reason })
    this.#ended.resolve(this.#exit)
  }

  /** What came of it before is over. */
  #begun(): void {
    if (!this.#exit) return
    this.#exit = undefined
    this.#ended = deferred()
  }

  #gone(): void {
    void this.#close()
    this.#state = 'shutdown'
    // The control thread reports how the machine ended, unless it failed itself.
    this.#ended.resolve(this.#exit ?? { reason: 'host-quit' })
    this.traces.end()
    this.vsock.end()
    this.ports.machineEnded(() => this.#closed?.resolve())
  }
}

const publicExit = ({ reason, status, detail, report }: BindingExit): Exit => ({
  reason: reason as Exit['reason'],
  ...(status === undefined ? {} : { status }),
  ...(detail === undefined ? {} : { detail }),
  ...(report === undefined ? {} : { report }),
})
