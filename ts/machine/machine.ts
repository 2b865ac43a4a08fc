import { EventEmitter } from 'node:events'
import { inspect, type InspectOptions } from 'node:util'
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
import type { MachineDevice } from './devices/javascript/machine-device.js'
import type { ConsolePort } from './devices/ports/console-port.js'
import type { SerialPort } from './devices/ports/serial-port.js'
import type { Vsock } from './devices/vsock/vsock.js'
import type { MachineEventMap } from './events/events.js'
import type { Exit } from './events/exit.js'
import { busLockEvent, notifyEvent, warning } from './events/from-native.js'
import type { MachineAccel } from './events/machine-accel.js'
import type { NotifyDrill } from './events/notify-event.js'
import { Observation } from './events/observation.js'
import type { KvmStatistics, MachineCounters } from './events/statistics.js'
import { Watch } from './events/watch.js'
import type { Control, ControlEvent } from './lifecycle/control.js'
import { createMachine, type CreatedMachine } from './lifecycle/create.js'
import { chooseHostPorts } from './lifecycle/host-ports.js'
import { Lifecycle } from './lifecycle/lifecycle.js'
import { describeMachine } from './config/describe.js'
import { explicitOptions, normaliseMachineOptions, type NormalMachineOptions } from './config/normal-options.js'
import type { MachineOptions } from './config/machine-options.js'

/**
 * A virtual machine on /dev/kvm. A native control thread owns it, each vCPU has a thread of its
 * own, and devices are native. This class sends commands and emits events. No method blocks the
 * event loop, and the commands of one machine are executed in the order of their calls.
 *
 * A running or paused machine keeps the process alive until it ends; {@linkcode Machine.unref}
 * changes that. The end of the process, of the worker or of the `using` scope ends the machine.
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
  /**
   * COM1 to COM4, as option `serials` lists them; `null` for a port that the machine does not have.
   */
  readonly serials: readonly (SerialPort | null)[]
  /** The ports of the virtio console, in the order of option `consoles`. */
  readonly consoles: readonly ConsolePort[]
  /** Breakpoints, watchpoints, single steps and guest memory. */
  readonly debug: Debugger
  /** The vCPUs, by index. */
  readonly vcpus: readonly Vcpu[]
  /** Records which pages of memory the guest writes. */
  readonly dirtyLog: DirtyLog
  /** Streams between host and guest, with option `vsock`. */
  readonly vsock: Vsock
  /** Takes memory from the guest and gives it back, with option `balloon`. */
  readonly balloon: Balloon
  /**
   * The trace records of the events that option `trace` names. They begin with the first ioctl of
   * the machine's creation. `null` without the option. At most 65536 records wait.
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
      guestStopped: failed => this.#devices.guestStopped(failed),
      restarted: () => void this.#devices.ports.restarted(),
      ended: () => {
        this.#observation.traces.end()
        return this.#devices.ended()
      },
    })
    this.#devices = new Devices(control, this.#lifecycle, options)
    const { ports, vsock, balloon, dirtyLog } = this.#devices
    this.serials = ports.serials
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
   * Creates a machine. Resolves when the images are loaded and the vCPUs wait for
   * {@linkcode Machine.start}. Option `signal` cancels the creation at any time.
   *
   * @throws {@linkcode MachineConfigError}, {@linkcode AccelPropertyError},
   * {@linkcode AcceleratorError}: the options.
   * @throws {@linkcode GuestImageError}: the kernel or the initrd.
   * @throws {@linkcode KvmUnavailableError}, {@linkcode KvmCapabilityError},
   * {@linkcode KvmIoctlError}, {@linkcode NotifyUnsupportedError}: the host.
   */
  static async create(options: MachineOptions): Promise<Machine> {
    const normal = await chooseHostPorts(normaliseMachineOptions(options))
    normal.signal?.throwIfAborted()
    const machine = new Machine(await createMachine(normal), normal)
    await machine.#connect()
    // In the next turn of the event loop, as the first events of the control thread: the caller has
    // added its listeners by then.
    setImmediate(() => {
      for (const skipped of normal.accel.warnings) machine.#emit('warning', skipped)
    })
    return machine
  }

  /** The name from option `name`; `null` without one. */
  get name(): string | null {
    return this.#options.name
  }

  /**
   * The options of the machine with every default written out. A value that was chosen, such as the
   * port for `hostPort: 0`, replaces the requested one. It is a new object at each read, which may be changed.
   */
  get options(): MachineOptions {
    return explicitOptions(this.#options)
  }

  /**
   * COM1. Bytes written to it are the guest's input. With `serial: 'stream'` it can be read: the
   * guest's output. A machine that is reset after `internal-error` has a new stream.
   */
  get serial(): SerialPort {
    return this.#devices.ports.serial
  }

  /**
   * The guest's output on the debug console, with `target: 'stream'`. Bytes written to it are
   * dropped. `null` without a debug console.
   */
  get debugConsole(): SerialPort | null {
    return this.#devices.ports.debugConsole
  }

  /** The run state as of the last event, by QEMU's name. */
  get state(): RunState {
    return this.#lifecycle.state
  }

  /**
   * Starts the guest: `prelaunch` to `running`.
   *
   * @throws {@linkcode MachineStateError} in any other state.
   */
  start(): Promise<void> {
    return this.#lifecycle.start()
  }

  /**
   * Resumes the guest: `paused`, `debug`, `guest-panicked` or `prelaunch` to `running`.
   *
   * @throws {@linkcode MachineStateError} in any other state.
   */
  resume(): Promise<void> {
    return this.#lifecycle.resume()
  }

  /**
   * Pauses the guest: `running` to `paused`. Resolves when every vCPU has left the guest, every
   * device has finished its requests, and guest memory no longer changes. If the guest stops by
   * itself meanwhile, the machine keeps the run state of that stop. A second call waits for the
   * first, unless another command comes between them. A vCPU that waits for a handler in JavaScript
   * leaves the guest after the handler's answer.
   *
   * @throws {@linkcode MachineStateError} unless the machine runs.
   * @throws {@linkcode KvmAccelError} with code `ERR_DEVICE_BUSY` when a device is still busy after
   * 10 seconds. The machine then continues to run.
   */
  pause(): Promise<void> {
    return this.#lifecycle.pause()
  }

  /**
   * Resets the machine to its power-on state. A running machine continues to run; any other machine
   * is in `prelaunch` until {@linkcode Machine.start}. Memory that no image covers keeps its
   * contents.
   *
   * @throws the errors of {@linkcode Machine.create}, when an image no longer exists, the kernel
   * refuses a state, or guest memory is lost. The machine is then in `internal-error`.
   */
  reset(): Promise<void> {
    return this.#lifecycle.reset()
  }

  /**
   * Ends the machine in any run state. Resolves when all its resources are released: threads, memory, locks
   * of images, sockets and their paths, ports of the host. The next machine may use them at once. A
   * second call waits for the first. Commands that have not finished are refused.
   */
  stop(): Promise<void> {
    return this.#lifecycle.stop()
  }

  /**
   * Resolves when the machine has ended, as {@linkcode Machine.stop} does, or has stopped in
   * `internal-error` or, with option `noShutdown`, in `shutdown` or `guest-panicked`.
   *
   * Streams that are being read have delivered all output that the guest wrote before its end. A
   * reader that pauses delays the result by at most a second, and can read the rest later.
   */
  wait(): Promise<Exit> {
    return this.#lifecycle.wait()
  }

  /**
   * Keeps the process alive until the machine ends. This is the default after the machine was
   * started.
   */
  ref(): this {
    this.#lifecycle.keepAlive(true)
    return this
  }

  /**
   * Lets the process end, and the machine with it, in every run state until
   * {@linkcode Machine.ref}.
   */
  unref(): this {
    this.#lifecycle.keepAlive(false)
    return this
  }

  /** Calls {@linkcode Machine.stop}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  /**
   * Adds a device written in JavaScript: its handlers answer the guest's accesses to a range of
   * ports or addresses. The vCPU waits for each answer.
   *
   * Handlers run on this thread, where they may be asynchronous, or in a worker, where they are
   * synchronous and several times faster (see docs/how-to/javascript-devices.md for the cost of an
   * access). A handler that throws causes event `device-error`, and ends the machine unless the
   * device has `onError: 'all-ones'`. In a handler, `pause()` and `reset()` resolve before they are
   * done, because the vCPU stops only after the answer. Operations that need a stopped machine are
   * refused there.
   *
   * Returns the device's interrupt line and the guest's memory, for option `irq` and for DMA.
   *
   * @throws {@linkcode MachineConfigError} when a key is unknown, when the range is invalid, is RAM,
   * or belongs to another device, and when the interrupt line is in use.
   * @throws {@linkcode MachineStateError} in any state but `prelaunch`.
   */
  addDevice(device: DeviceOptions): Promise<MachineDevice> {
    return this.#devices.add(device)
  }

  /**
   * Sends an NMI to every vCPU, as QEMU's `inject-nmi` does. A vCPU takes it if the guest has
   * programmed LINT1 of its local APIC to deliver NMIs; Linux does so on its first processor. A
   * stopped machine takes it after it is resumed.
   *
   * @throws {@linkcode MachineStateError} in `internal-error` and `shutdown`.
   */
  injectNmi(): Promise<void> {
    return injectNmi(this.#control)
  }

  /**
   * Injects a notify VM exit, on any host: a drill. The vCPU is interrupted, and treats that exit
   * as a notify exit under the policy of this machine. The event is marked `injected`.
   *
   * @throws {@linkcode ArgumentError} when the vCPU does not exist, or 64 injections already wait for it.
   * @throws {@linkcode MachineStateError} unless the machine runs.
   */
  injectNotify(drill: NotifyDrill = {}): Promise<void> {
    return injectNotify(this.#control, this.#options.cpus, drill)
  }

  /** The accelerator's properties, and the state of notify exits on this host. */
  get accel(): MachineAccel {
    return this.#observation.accel()
  }

  /** Returns this package's own counters, also of a machine that has ended. */
  counters(): MachineCounters {
    return this.#observation.counters()
  }

  /**
   * Reads the kernel's statistics of this machine and of each vCPU, by the kernel's names, in every
   * run state and without stopping the guest: `machine.kvmStatistics().vcpus[0]?.exits?.value`.
   *
   * @throws {@linkcode MachineStateError} when the machine has ended; {@linkcode Machine.counters}
   * still returns its counters.
   * @throws {@linkcode KvmCapabilityError} on kernels before Linux 5.14, which have no such
   * statistics.
   * @throws {@linkcode KvmAccelError} with code `ERR_KVM_STATS` when the kernel's description of
   * the statistics is invalid.
   */
  kvmStatistics(): KvmStatistics {
    const statistics = this.#observation.kvmStatistics()
    if (!statistics) throw this.#lifecycle.endedError('kvmStatistics')
    return statistics
  }

  /**
   * Reads {@linkcode Machine.kvmStatistics} at once, and then every `interval` milliseconds until the
   * machine has ended. A reader that is late gets the current numbers. Leaving the loop stops the
   * timer.
   *
   * @param interval Milliseconds, 1 to 2^31 - 1.
   * @throws {@linkcode ArgumentError} for another interval. The iterator throws what
   * {@linkcode Machine.kvmStatistics} throws.
   */
  watchKvmStatistics(interval: number): AsyncIterableIterator<KvmStatistics, undefined> {
    return new Watch(() => this.#observation.kvmStatistics(), interval, this.wait())
  }

  /**
   * Records trace events from now on: those whose names match a glob of `*` and `?`, or one of
   * several globs. The name of one event gives records of its type. docs/reference/trace.md lists the events.
   * {@linkcode Machine.startTrace} has the events of the machine's creation.
   *
   * @param globs Such as `'kvm_run_exit'` or `'kvm_*'`.
   * @throws {@linkcode ArgumentError} for a glob that matches no event, and for a limit that is out of range.
   * @throws {@linkcode MachineStateError} when the machine has ended.
   */
  trace<Glob extends string>(
    globs: Glob | readonly Glob[],
    options: TraceOptions = {},
  ): TraceStream<TraceRecordOf<Glob>> {
    this.#lifecycle.check('trace')
    return this.#observation.traces.open(globs, options)
  }

  /** Shows name, run state, vCPUs, memory and devices in `console.log()`. */
  [inspect.custom](_depth: number, options: InspectOptions): string {
    return describeMachine({ state: this.state, options: this.#options, devices: this.#devices.names }, options)
  }

  /**
   * Connects the ports, which may wait for clients. Events are emitted after the caller has
   * received the machine.
   */
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
        return void this.#emit('notify', notifyEvent(event))
      case 'bus-lock':
        return void this.#emit('bus-lock', busLockEvent(event))
      case 'warning':
        return void this.#emit('warning', warning(event))
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

  #emit<K extends keyof MachineEventMap>(name: K, ...args: MachineEventMap[K]): boolean {
    try {
      return (this as EventEmitter).emit(name, ...args)
    } catch (error) {
      this.#lifecycle.thrown(error)
      return true
    }
  }
}
