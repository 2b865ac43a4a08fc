import type { Control, ControlEvent } from '../lifecycle/control.js'
import type { Lifecycle } from '../lifecycle/lifecycle.js'
import type { NormalMachineOptions } from '../config/normal-options.js'
import { Balloon } from './balloon/balloon.js'
import { DirtyLog } from './dirty-log.js'
import type { DeviceOptions } from './javascript/device.js'
import { JavaScriptDevices, type HandlerFailed } from './javascript/javascript-devices.js'
import { JavaScriptMsrs } from './javascript/javascript-msrs.js'
import type { MachineDevice } from './javascript/machine-device.js'
import { Ports } from './ports/ports.js'
import { Vsock } from './vsock/vsock.js'

type DeviceEventKind =
  | 'device-access'
  | 'device-reset'
  | 'msr-access'
  | 'vsock-connected'
  | 'vsock-connection'
  | 'balloon-change'
  | 'input-drained'

/** An event that a device handles itself. */
export type DeviceEvent = Extract<ControlEvent, { kind: DeviceEventKind }>

/** The devices of one machine that this process drives or serves. */
export class Devices {
  readonly ports: Ports
  readonly vsock: Vsock
  readonly balloon: Balloon
  readonly dirtyLog: DirtyLog
  readonly #lifecycle: Lifecycle
  readonly #javascript: JavaScriptDevices
  readonly #msrs: JavaScriptMsrs

  constructor(control: Control, lifecycle: Lifecycle, options: NormalMachineOptions) {
    const { native } = control
    const check = (operation: string) => lifecycle.check(operation)
    const thrown = (error: unknown) => lifecycle.thrown(error)
    this.#lifecycle = lifecycle
    this.ports = new Ports(native, options)
    this.vsock = new Vsock({ native, check, thrown })
    const { balloon, memory } = options
    this.balloon = new Balloon({ native, present: balloon !== null, memory: memory.size, check, thrown })
    this.dirtyLog = new DirtyLog(control, operation => {
      lifecycle.check(operation)
      return lifecycle.state
    })
    const failed: HandlerFailed = (device, error, ends) => lifecycle.handlerFailed({ device, error }, ends)
    this.#javascript = new JavaScriptDevices(control, failed)
    this.#msrs = new JavaScriptMsrs(control, options.msrFilter, failed)
  }

  /** Adds a device whose handlers are JavaScript. */
  add(device: DeviceOptions): Promise<MachineDevice> {
    return this.#javascript.add(device)
  }

  /** The names of the devices whose handlers are JavaScript. */
  get names(): readonly string[] {
    return this.#javascript.names
  }

  /** Passes an event to its device. */
  take(event: DeviceEvent): void {
    switch (event.kind) {
      case 'device-access':
        return this.#javascript.access(event.device, event.access)
      case 'device-reset':
        return this.#javascript.reset(event.device)
      case 'msr-access':
        return this.#msrs.access(event.access)
      case 'vsock-connected':
        return this.vsock.connected(event.id, event.hostPort, event.error)
      case 'vsock-connection':
        return this.vsock.arrived(event.hostPort)
      case 'balloon-change':
        // A machine that has ended emits no `change`.
        return this.#lifecycle.state === 'shutdown' ? undefined : this.balloon.changed()
      case 'input-drained':
        return this.ports.inputDrained(event.port)
      default:
        event satisfies never
    }
  }

  /** The machine is ending: from now on a failure of a handler or a worker is not reported. */
  ending(): void {
    this.#javascript.end()
    this.#msrs.end()
  }

  /** See {@link Ports.guestFailed} and {@link Ports.guestStopped}. */
  guestStopped(failed: boolean): Promise<void> {
    return failed ? this.ports.guestFailed() : this.ports.guestStopped()
  }

  /** The machine has ended. Resolves after readers have the last output and targets are closed. */
  async ended(): Promise<void> {
    await Promise.all([this.vsock.end(), this.ports.machineEnded()])
  }
}
