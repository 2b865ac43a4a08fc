import { EventEmitter } from 'node:events'
import type { RunState } from '../errors/operation/run-state.js'
import type { TraceRecordOf } from '../trace/record.js'
import type { TraceStream } from '../trace/stream.js'
import type { TraceOptions } from '../trace/streams.js'
import { Debugger } from './debug/debugger.js'
import { injectNmi, injectNotify } from './debug/injection.js'
import { Vcpu } from './debug/vcpu.js'
import type { Balloon } from './devices/balloon/balloon.js'
import { Devices } from './devices/devices.js'
import type { DirtyLog } from './devices/dirty-log.js'
import type { DeviceOptions } from './devices/javascript/device.js'
import type { ConsolePort } from './devices/ports/console-port.js'
import type { SerialPort } from './devices/ports/serial-port.js'
import type { Vsock } from './devices/vsock/vsock.js'
import type { MachineEventMap } from './events/events.js'
import type { Exit } from './events/exit.js'
import { busLockEvent, notifyEvent, warning } from './events/from-native.js'
import type { MachineAccel } from './events/machine-accel.js'
import type { NotifyDrill } from './events/notify-event.js'
import { Observation } from './events/observation.js'
import type { MachineStatistics, MachineStats } from './events/statistics.js'
import { Watch } from './events/watch.js'
import type { Control, ControlEvent } from './lifecycle/control.js'
import { createMachine, type CreatedMachine } from './lifecycle/create.js'
import { Lifecycle } from './lifecycle/lifecycle.js'
import { normaliseMachineOptions, type NormalMachineOptions } from './normal-options.js'
import type { MachineOptions } from './options.js'

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
export class Machine extends EventEmitter<MachineEventMap> {
  /** COM1: write the guest's input; read its output with `serial: 'stream'`. */
  readonly serial: SerialPort
  /** COM1 to COM4, as far as option `serials` names them; `null` for one that is not there. */
  readonly serials: readonly (SerialPort | null)[]
  /** What the guest writes to the debug console, with `target: 'stream'`; nobody reads what is written here. `null` without one. */
  readonly debugConsole: SerialPort | null
  /** The ports of the virtio console, in the order of option `consoles`. */
  readonly consoles: readonly ConsolePort[]
  /** Breakpoints, watchpoints, steps and memory. */
  readonly debug: Debugger
  /** The vCPUs, by index. */
  readonly vcpus: readonly Vcpu[]
  /** Which pages of memory the guest writes. */
  readonly dirtyLog: DirtyLog
  /** Streams between host and guest, with option `vsock`. */
  readonly vsock: Vsock
  /** Memory that the guest does without, with option `balloon`. */
  readonly balloon: Balloon
  /**
   * The records of the events that option `trace` named, from the first ioctl on: the machine's making included. `null` without the option.
   * At most 65536 records wait.
   */
  readonly startTrace: TraceStream | null
  readonly #control: Control
  readonly #options: NormalMachineOptions
  readonly #lifecycle: Lifecycle
  readonly #devices: Devices
  readonly #observation: Observation

  /** @internal Use {@linkcode Machine.create}. */
  private constructor({ control, created, properties }: CreatedMachine, options: NormalMachineOptions) {
    super()
    this.#control = control
    this.#options = options
    this.#observation = new Observation(control.native, created, properties)
    this.#lifecycle = new Lifecycle(control, options, {
      emit: (name, ...args) => this.#emit(name, ...args),
      keepAlive: alive => this.#devices.ports.keepAlive(alive),
      ending: () => this.#devices.ending(),
      ended: done => {
        this.#observation.traces.end()
        this.#devices.ended(done)
      },
    })
    this.#devices = new Devices(control, this.#lifecycle, options)
    const { ports, vsock, balloon, dirtyLog } = this.#devices
    this.serial = ports.serial
    this.serials = ports.serials
    this.debugConsole = ports.debugConsole
    this.consoles = ports.consoles
    this.vsock = vsock
    this.balloon = balloon
    this.dirtyLog = dirtyLog
    this.vcpus = Array.from({ length: options.cpus }, (_, index) => new Vcpu(index, control))
    this.debug = new Debugger({
      control,
      cpus: options.cpus,
      supported: () => created.debug && this.state !== 'shutdown',
      step: vcpu => this.#lifecycle.step(vcpu),
    })
    this.startTrace = this.#observation.traces.start
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
    const machine = new Machine(await createMachine(normal), normal)
    await machine.#connect()
    // As the control thread's events: in the next turn of the event loop, when the caller has added its listeners.
    setImmediate(() => {
      for (const skipped of normal.accel.warnings) machine.#emit('warning', skipped)
    })
    return machine
  }

  /** The run state, by QEMU's name, as of the last event. */
  get state(): RunState {
    return this.#lifecycle.state
  }

  /**
   * Lets the guest run: `prelaunch` to `running`.
   *
   * @throws {@linkcode MachineStateError} in any other state.
   */
  start(): Promise<void> {
    return this.#lifecycle.start()
  }

  /**
   * Lets the guest run on: `paused`, `debug`, `guest-panicked` or `prelaunch` to `running`.
   *
   * @throws {@linkcode MachineStateError} in any other state.
   */
  resume(): Promise<void> {
    return this.#lifecycle.resume()
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
    return this.#lifecycle.pause()
  }

  /**
   * Puts the machine back to power-on. A running one goes on running; any other is then in `prelaunch` until
   * {@linkcode Machine.start}. Memory that no image covers keeps its contents.
   *
   * @throws what {@linkcode Machine.create} throws, when an image is gone, the kernel refuses a state, or guest memory is lost. The
   * machine is then in `internal-error`.
   */
  reset(): Promise<void> {
    return this.#lifecycle.reset()
  }

  /**
   * Ends the machine, whatever it does, and resolves when its threads have ended and its memory is unmapped. Allowed in every
   * state; a second call waits for the first. Commands that are not done are refused.
   */
  stop(): Promise<void> {
    return this.#lifecycle.stop()
  }

  /** Resolves when the machine has ended, or stopped in `internal-error`. */
  wait(): Promise<Exit> {
    return this.#lifecycle.wait()
  }

  /** The machine keeps the process alive while it has not ended (the default from its start on). */
  ref(): this {
    this.#lifecycle.keepAlive(true)
    return this
  }

  /** The process may end, and the machine with it, in every run state until {@linkcode Machine.ref}. */
  unref(): this {
    this.#lifecycle.keepAlive(false)
    return this
  }

  /** {@linkcode Machine.stop}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  /**
   * Adds a device written in JavaScript: ports or addresses whose accesses its handlers answer. The vCPU waits for each answer.
   *
   * Handlers run on this thread, and may be asynchronous; or in a worker, synchronously and several times faster (see
   * docs/javascript-devices.md for what an access costs). A handler that throws ends the machine. In a handler, `pause()` and
   * `reset()` resolve when they have been asked for, because the vCPU stops after the answer; operations that need a stopped machine
   * are refused.
   *
   * @example
   * ```ts
   * import { Machine } from 'kvm-accel'
   *
   * const machine = await Machine.create({ kernel: 'vmlinux' })
   * let latch = 0
   * await machine.addDevice({
   *   pio: [0x550, 2],
   *   read: () => latch,
   *   write: (offset, size, value) => void (latch = Number(value)),
   * })
   * ```
   * @throws {@linkcode MachineConfigError} when the place is none, is RAM, or another device's.
   * @throws {@linkcode MachineStateError} in any state but `prelaunch`.
   */
  addDevice(device: DeviceOptions): Promise<void> {
    return this.#devices.add(device)
  }

  /**
   * Sends an NMI to every vCPU, as QEMU's `inject-nmi`: it is taken where the guest has its local APIC deliver NMIs at LINT1. Linux
   * does so on its first processor. A machine that does not run takes it when it goes on.
   *
   * @throws {@linkcode MachineStateError} in `internal-error` and `shutdown`.
   */
  injectNmi(): Promise<void> {
    return injectNmi(this.#control)
  }

  /**
   * The drill: a vCPU treats its next interruption as a notify VM exit, with this machine's policy, on any host. The event is
   * marked `injected`.
   *
   * @throws RangeError when there is no such vCPU, or 64 injections already wait for it.
   * @throws {@linkcode MachineStateError} unless the machine runs.
   */
  injectNotify(drill: NotifyDrill = {}): Promise<void> {
    return injectNotify(this.#control, this.#options.cpus, drill)
  }

  /** The accelerator's properties, and what became of them on this host. */
  get accel(): MachineAccel {
    return this.#observation.accel()
  }

  /** Counters, also of a machine that has ended. */
  stats(): MachineStats {
    return this.#observation.stats()
  }

  /**
   * What the kernel counts for this machine and each of its vCPUs, by the kernel's names, in every run state and without stopping
   * the guest: `machine.statistics().vcpus[0]?.exits?.value`.
   *
   * @throws {@linkcode MachineStateError} when the machine has ended (our own count in {@linkcode Machine.stats} stays).
   * @throws {@linkcode KvmCapabilityError} on kernels before Linux 5.14, which have no such statistics.
   * @throws {@linkcode KvmAccelError} with code `ERR_KVM_STATS` when the kernel's description of them cannot be.
   */
  statistics(): MachineStatistics {
    const statistics = this.#observation.statistics()
    if (!statistics) throw this.#lifecycle.endedError('statistics')
    return statistics
  }

  /**
   * {@linkcode Machine.statistics} now and then every `interval` milliseconds, until the machine has ended. A reader that comes late
   * gets the numbers of then. Leaving the loop stops the timer.
   *
   * @param interval Milliseconds, 1 to 2^31 - 1.
   * @throws RangeError for another interval. The iterator throws what {@linkcode Machine.statistics} throws.
   */
  watchStatistics(interval: number): AsyncIterableIterator<MachineStatistics, undefined> {
    return new Watch(() => this.#observation.statistics(), interval, this.wait())
  }

  /**
   * Records what the machine does from here on: the trace events whose names match a glob of `*` and `?`, or any of several. An event's name
   * alone gives records of its type. docs/trace.md lists the events; what happens before, while the machine is made, is in
   * {@linkcode Machine.startTrace}.
   *
   * @param globs Such as `'kvm_run_exit'` or `'kvm_*'`.
   * @throws RangeError for a glob that matches no event, or a limit out of range.
   * @throws {@linkcode MachineStateError} when the machine has ended.
   * @example
   * ```ts
   * import { Machine } from 'kvm-accel'
   *
   * await using machine = await Machine.create({ kernel: 'vmlinux' })
   * const exits = machine.trace('kvm_run_exit')
   * await machine.start()
   * for await (const { time, vcpu, args } of exits) console.log(time, vcpu, args.reason)
   * ```
   */
  trace<Glob extends string>(
    globs: Glob | readonly Glob[],
    options: TraceOptions = {},
  ): TraceStream<TraceRecordOf<Glob>> {
    this.#lifecycle.check('trace')
    return this.#observation.traces.open(globs, options)
  }

  /** Connects the ports, which may take long. Events wait until the caller has the machine. */
  async #connect(): Promise<void> {
    const { signal } = this.#options
    const listen = () =>
      this.#control.listen(
        event => this.#take(event),
        () => this.#observation.traces.wake(),
      )
    try {
      await this.#devices.ports.connect(signal)
      signal?.throwIfAborted()
    } catch (error) {
      listen()
      await this.stop()
      throw error
    }
    listen()
  }

  #take(event: ControlEvent): void {
    switch (event.kind) {
      case 'notify':
        return this.#emit('notify', notifyEvent(event))
      case 'bus-lock':
        return this.#emit('bus-lock', busLockEvent(event))
      case 'warning':
        return this.#emit('warning', warning(event))
      case 'resume':
      case 'stop':
      case 'debug':
      case 'reset':
      case 'shutdown':
      case 'closed':
        return this.#lifecycle.take(event)
      default:
        return this.#devices.take(event)
    }
  }

  #emit<K extends keyof MachineEventMap>(name: K, ...args: MachineEventMap[K]): void {
    try {
      ;(this as EventEmitter).emit(name, ...args)
    } catch (error) {
      this.#lifecycle.thrown(error)
    }
  }
}
