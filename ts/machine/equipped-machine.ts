import { busLockEvent, notifyEvent, warning } from '../native/from-native.js'
import type { AccelProperties } from '../properties/types.js'
import { Balloon } from './balloon.js'
import type { Control, ControlEvent } from './control.js'
import type { CreatedMachine } from './create.js'
import type { ConsolePort } from './console-port.js'
import type { DebugEvent } from './debug/breakpoint.js'
import { Debugger } from './debug/debugger.js'
import type { DeviceOptions } from './device.js'
import { Devices } from './devices.js'
import { DirtyLog } from './dirty-log.js'
import type { MachineEventMap } from './events.js'
import { Msrs } from './msrs.js'
import type { NormalMachineOptions } from './config/normal-options.js'
import { ObservedMachine } from './observed-machine.js'
import { Ports } from './ports.js'
import type { RunState } from './run-state.js'
import type { SerialPort } from './serial-port.js'
import { Vcpu } from './vcpu.js'
import { Vsock } from './vsock/vsock.js'

/** The events that change the run state. */
type Transition = 'resume' | 'stop' | 'debug' | 'reset' | 'shutdown' | 'closed'

/** What a machine has: ports, vCPUs, and devices that programs of the host talk to. Its run state is the subclass's. */
export abstract class EquippedMachine extends ObservedMachine {
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
  /** @internal Where ports lead. */
  protected readonly ports: Ports
  /** @internal The way to the control thread. */
  protected readonly control: Control
  /** @internal Devices in JavaScript. */
  protected readonly devices: Devices
  /** @internal MSRs that JavaScript answers. */
  protected readonly msrs: Msrs

  /** @internal */
  protected constructor(
    { control, created }: CreatedMachine,
    options: NormalMachineOptions,
    properties: AccelProperties,
  ) {
    const { native } = control
    super(native, created, properties)
    this.control = control
    this.ports = new Ports(native, options)
    const { serial, serials, debugConsole, consoles } = this.ports
    this.serial = serial
    this.serials = serials
    this.debugConsole = debugConsole
    this.consoles = consoles
    const alive = (operation: string) => this.alive(operation)
    const thrown = (error: unknown) => this.thrown(error)
    this.vcpus = Array.from({ length: options.cpus }, (_, index) => new Vcpu(index, control))
    this.debug = new Debugger({
      control,
      cpus: options.cpus,
      supported: () => created.debug && this.state !== 'shutdown',
      step: vcpu => this.step(vcpu),
    })
    this.dirtyLog = new DirtyLog(control, operation => {
      this.alive(operation)
      return this.state
    })
    this.vsock = new Vsock({ native, check: alive, thrown })
    const { balloon, memory } = options
    this.balloon = new Balloon({ native, present: balloon !== null, memory: memory.size, check: alive, thrown })
    this.devices = new Devices(control, thrown)
    this.msrs = new Msrs(control, options.msrFilter, thrown)
  }

  /** The run state, by QEMU's name. */
  abstract get state(): RunState

  /** @internal Lets one vCPU execute one instruction. */
  protected abstract step(vcpu: number): Promise<DebugEvent | undefined>

  /** @internal The user's code threw. */
  protected abstract thrown(error: unknown): void

  /** @internal Emits. */
  protected abstract tell<K extends keyof MachineEventMap>(name: K, ...args: MachineEventMap[K]): void

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
    return this.devices.add(device)
  }

  /** @internal What is no change of the run state. */
  protected deliver(event: Exclude<ControlEvent, { kind: Transition }>): void {
    switch (event.kind) {
      case 'notify':
        return this.tell('notify', notifyEvent(event))
      case 'bus-lock':
        return this.tell('bus-lock', busLockEvent(event))
      case 'warning':
        return this.tell('warning', warning(event))
      case 'device-access':
        return this.devices.access(event.device, event.access)
      case 'msr-access':
        return this.msrs.access(event.access)
      case 'vsock-connected':
        return this.vsock.connected(event.id, event.hostPort, event.error)
      case 'vsock-connection':
        return this.vsock.arrived(event.hostPort)
      case 'balloon-change':
        // Of a machine that has ended there is nothing to tell any more.
        return this.state === 'shutdown' ? undefined : this.balloon.changed()
      case 'input-drained':
        return this.ports.inputDrained(event.port)
      default:
        event satisfies never
    }
  }
}
