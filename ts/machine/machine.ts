import type { EventEmitter } from 'node:events'
import { Socket } from 'node:net'
import type { MachineStateError } from '../errors/machine-state-error.js'
import type { AccelProperties } from '../properties/types.js'
import type { BindingError, BindingEvent, BindingMachine } from '../native/binding.cjs'
import { debugEvent } from '../native/from-native.js'
import { createNative } from '../native/to-native.js'
import { unwrap } from '../native/native.js'
import type { DebugEvent } from './debug/breakpoint.js'
import { deferred, type Deferred } from './deferred.js'
import { EquippedMachine, type StopEvent } from './equipped-machine.js'
import type { Exit } from './exit.js'
import type { MachineEventMap } from './events.js'
import { normaliseMachineOptions, type NormalMachineOptions } from './normal-options.js'
import type { NotifyDrill } from './notify-event.js'
import type { MachineOptions } from './options.js'
import { ended, transition, type GuestEvent, type Operation, type RunState } from './run-state.js'

/**
 * A virtual machine on /dev/kvm. Each vCPU has a native thread; devices are native; events arrive here.
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
  readonly #native: BindingMachine
  readonly #options: NormalMachineOptions
  readonly #wake: Socket
  #state: RunState = 'prelaunch'
  #ended = deferred<Exit>()
  #exit: Exit | undefined
  #closed: Deferred<void> | undefined
  /** Someone waits for a step to be done. */
  #stepping: Deferred<DebugEvent | undefined> | undefined
  /** Someone waits for all vCPUs to be outside the guest. */
  #stopping: Deferred<void> | undefined

  /** @internal Use {@linkcode Machine.create}. */
  private constructor(native: BindingMachine, options: NormalMachineOptions, properties: AccelProperties) {
    super(native, options, properties)
    this.#native = native
    this.#options = options
    this.#wake = new Socket({ fd: native.takeWakeFd(), readable: true, writable: false })
    this.#wake.on('data', () => this.#takeEvents())
    this.#wake.on('error', () => {})
    this.#keepAlive(false)
  }

  /**
   * Builds a machine: the images are loaded, the vCPUs exist and wait for {@linkcode Machine.start}.
   *
   * @throws {@linkcode MachineConfigError}, {@linkcode AccelPropertyError}, {@linkcode AcceleratorError}: the options.
   * @throws {@linkcode GuestImageError}: the kernel or the initrd.
   * @throws {@linkcode KvmUnavailableError}, {@linkcode KvmCapabilityError}, {@linkcode KvmIoctlError},
   * {@linkcode NotifyUnsupportedError}: the host.
   */
  static async create(options: MachineOptions): Promise<Machine> {
    const normal = normaliseMachineOptions(options)
    normal.signal?.throwIfAborted()
    const { machine: native, properties } = await createNative(normal)
    const machine = new Machine(native, normal, properties)
    normal.signal?.addEventListener('abort', machine.#abort, { once: true })
    if (normal.signal?.aborted) machine.#abort()
    await machine.#connect()
    // The caller's handlers are not there yet; those of the addon's events come with the event loop anyway.
    setImmediate(() => {
      for (const skipped of normal.accel.warnings) machine.tell('warning', skipped)
    })
    return machine
  }

  /** The run state, by QEMU's name. */
  override get state(): RunState {
    return this.#state
  }

  /** Lets the guest run: `prelaunch` to `running`. */
  async start(): Promise<void> {
    this.#run('start')
  }

  /** Lets the guest run on: `paused` or `prelaunch` to `running`. */
  async resume(): Promise<void> {
    this.#run('resume')
  }

  /** Takes all vCPUs out of the guest: `running` to `paused`. Resolves when they are out. */
  async pause(): Promise<void> {
    this.check('pause')
    const stopped = this.#stopVcpus().then(() => {
      if (this.#state === 'running') this.#enter('pause')
    })
    if (!this.handling.open) await stopped
  }

  /**
   * Puts the machine back to power-on. A running one goes on running; any other is then in `prelaunch` until
   * {@linkcode Machine.start}. Memory that no image covers keeps its contents.
   *
   * @throws what {@linkcode Machine.create} throws, when an image is gone, the kernel refuses a state, or guest memory is lost. A machine
   * that was running is then in `internal-error`.
   */
  async reset(): Promise<void> {
    this.check('reset')
    if (this.#state === 'running') {
      const done = this.#resetRunning()
      if (!this.handling.open) await done
      return
    }
    this.#resetNative()
    this.#next('reset')
    this.#begun()
    this.tell('reset', { guest: false })
  }

  /**
   * Ends the machine, whatever it does, and resolves when its threads have ended and its memory is unmapped. Allowed in every
   * state; a second call waits for the first.
   */
  async stop(): Promise<void> {
    if (!this.#closed) this.#end({ reason: 'host-quit' }, 'stop')
    await this.#close()
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
  injectNmi(): void {
    this.check('injectNmi')
    this.#native.injectNmi()
  }

  /**
   * The drill: a vCPU treats its next interruption as a notify VM exit, with this machine's policy, on any host. The event is
   * marked `injected`.
   *
   * @throws RangeError when there is no such vCPU, or 64 injections already wait for it.
   */
  injectNotify({ vcpu = 0, contextInvalid = false }: NotifyDrill = {}): void {
    this.check('injectNotify')
    if (!Number.isInteger(vcpu) || vcpu < 0 || vcpu >= this.#options.cpus) {
      throw new RangeError(`There is no vCPU ${vcpu}: this machine has ${this.#options.cpus}, counted from 0`)
    }
    if (!this.#native.injectNotify(vcpu, contextInvalid)) {
      throw new RangeError(`vCPU ${vcpu} has not taken the 64 injections before this one`)
    }
  }

  /** The machine keeps the process alive while it has not ended (the default). */
  ref(): this {
    this.#keepAlive(true)
    return this
  }

  /** The process may end, and the machine with it. */
  unref(): this {
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
    return ended(this.#state, operation)
  }

  /** @internal */
  protected override over(): Promise<unknown> {
    return this.#ended.promise
  }

  #abort = (): void => void this.stop()

  /** @internal */
  protected override check(operation: Operation): void {
    this.alive(operation)
    transition(this.#state, operation)
  }

  #next(event: Operation | GuestEvent): void {
    this.#state = transition(this.#state, event)
  }

  #run(event: 'start' | 'resume'): void {
    this.check(event)
    this.#next(event)
    this.#begun()
    this.#keepAlive(true)
    this.#native.resume()
    this.tell('resume')
  }

  /** @internal */
  protected override step(vcpu: number): Promise<DebugEvent | undefined> {
    const error = this.#native.step(vcpu)
    if (error) unwrap(error)
    this.#next('debug.step')
    this.#begun()
    this.#keepAlive(true)
    this.#stepping = deferred()
    const { promise } = this.#stepping
    this.tell('resume')
    return promise
  }

  /** The machine has left the guest for a reason of its own or the user's. */
  #enter(event: Operation | GuestEvent, exit?: Exit): void {
    this.#next(event)
    this.tell('stop', exit ? { state: this.#state, exit } : { state: this.#state })
  }

  async #stopVcpus(): Promise<void> {
    if (!this.#stopping) {
      this.#stopping = deferred()
      this.#native.pause()
    }
    await this.#stopping.promise
  }

  async #resetRunning(): Promise<void> {
    await this.#stopVcpus()
    // The guest may have ended in the meantime; then there is nothing to reset. At a breakpoint it has not.
    const debugged = this.#state === 'debug'
    if (this.#state !== 'running' && !debugged) return
    this.#resetNative()
    this.tell('reset', { guest: false })
    if (debugged) return this.#run('resume')
    this.#native.resume()
  }

  /** A machine that cannot be put back to power-on cannot go on: run state `internal-error`. */
  #resetNative(): void {
    this.#restarted(this.#native.reset())
  }

  #restarted(error: BindingError | null): void {
    if (!error) return
    const { message: detail, report } = error
    this.#failed({ reason: 'internal-error', detail, ...(report === undefined ? {} : { report }) })
    unwrap(error)
  }

  /** Ends the machine for good (unless `noShutdown` keeps it), and tells so once. */
  #end(exit: Exit, event: Operation | GuestEvent): void {
    const wasRunning = this.#state === 'running'
    this.#next(event)
    const first = !this.#exit
    this.#exit ??= exit
    if (wasRunning) this.tell('stop', { state: this.#state, exit: this.#exit })
    if (first || event === 'stop') this.tell('shutdown', { reason: exit.reason })
    this.#ended.resolve(this.#exit)
  }

  async #connect(): Promise<void> {
    try {
      await this.ports.connect(this.#options.signal)
    } catch (error) {
      await this.#close()
      throw error
    }
  }

  async #close(): Promise<void> {
    if (!this.#closed) {
      this.#closed = deferred()
      this.#options.signal?.removeEventListener('abort', this.#abort)
      this.devices.end()
      this.msrs.end()
      this.#wake.ref()
      this.#native.close()
    }
    await this.#closed.promise
  }

  #keepAlive(alive: boolean): void {
    if (this.#closed) return
    if (alive) this.#wake.ref()
    else this.#wake.unref()
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

  #takeEvents(): void {
    for (const event of this.#native.take()) this.#take(event)
    this.traces.wake()
  }

  #take(event: BindingEvent): void {
    switch (event.kind) {
      case 'closed':
        return this.#gone()
      case 'paused':
      case 'debug':
      case 'guest-shutdown':
      case 'guest-panicked':
      case 'guest-reset':
      case 'guest-wake':
      case 'debug-exit':
      case 'fault':
        return this.#stopped(event)
      default:
        return this.deliver(event)
    }
  }

  /** All vCPUs are outside the guest. */
  #stopped(event: StopEvent): void {
    const stopping = this.#stopping
    const stepping = this.#stepping
    this.#stopping = undefined
    this.#stepping = undefined
    // A machine that has ended meanwhile has nothing to tell any more.
    if (this.#state === 'running' && !this.#closed) {
      switch (event.kind) {
        case 'paused':
          break
        case 'debug':
          this.#debugged(debugEvent(event))
          break
        case 'guest-shutdown':
          this.#guestEnded({ reason: 'guest-shutdown' })
          break
        case 'guest-panicked':
          this.#guestPanicked()
          break
        case 'debug-exit':
          this.#guestEnded({ reason: 'debug-exit', status: ((event.value << 1) | 1) & 0xff })
          break
        case 'guest-reset':
          this.#guestReset(stopping !== undefined)
          break
        case 'guest-wake':
          this.#guestWoke(stopping !== undefined)
          break
        case 'fault':
          this.#failed({ reason: 'internal-error', detail: event.message, report: event.report })
          break
        default:
          event satisfies never
      }
    }
    stopping?.resolve()
    stepping?.resolve(event.kind === 'debug' ? debugEvent(event) : undefined)
  }

  #debugged(event: DebugEvent): void {
    this.#enter('debug')
    this.tell('debug', event)
  }

  #guestEnded(exit: Exit): void {
    this.#end(exit, 'guest-shutdown')
    if (this.#options.noShutdown) this.#keepAlive(false)
    else void this.#close()
  }

  /** QEMU's default for a panic is a shutdown, too. */
  #guestPanicked(): void {
    const exit: Exit = { reason: 'guest-panicked' }
    if (!this.#options.noShutdown) return this.#guestEnded(exit)
    this.#held(exit, 'guest-panicked')
  }

  #guestReset(pausing: boolean): void {
    if (this.#options.noReboot) return this.#guestEnded({ reason: 'guest-reset' })
    try {
      this.#resetNative()
    } catch {
      // Told by `stop`: nobody called who could be answered.
      return
    }
    this.tell('reset', { guest: true })
    if (!pausing && !this.#closed) this.#native.resume()
  }

  /** It slept, and goes on from where it wants to be woken: no reset to anybody but its devices. */
  #guestWoke(pausing: boolean): void {
    try {
      this.#restarted(this.#native.wake())
    } catch {
      // As after a reset.
      return
    }
    if (!pausing && !this.#closed) this.#native.resume()
  }

  #failed(exit: Exit): void {
    this.#held(exit, 'internal-error')
  }

  /** Stays for inspection, and lets the process end. */
  #held(exit: Exit, event: GuestEvent): void {
    this.#exit = exit
    this.#keepAlive(false)
    this.#enter(event, exit)
    this.#ended.resolve(exit)
  }

  /** What came of it before is over. */
  #begun(): void {
    if (!this.#exit) return
    this.#exit = undefined
    this.#ended = deferred()
  }

  #gone(): void {
    this.traces.end()
    this.dirtyLog.end()
    this.vsock.end()
    this.#wake.destroy()
    this.#stopping?.resolve()
    this.#stepping?.resolve(undefined)
    this.ports.machineEnded(() => this.#closed?.resolve())
  }
}
