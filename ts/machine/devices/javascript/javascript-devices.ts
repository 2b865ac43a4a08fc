import type { BindingDeviceAccess } from '../../../native/binding.cjs'
import type { Control } from '../../lifecycle/control.js'
import { checkDevice } from './check-device.js'
import { deviceName, registerBits, registerValue, type DeviceOptions, type LocalDevice } from './device.js'
import { startDeviceWorker } from './device-worker.js'
import { MachineDevice } from './machine-device.js'

/** Reports that a handler of the named device failed. `ends`: the machine ends because of it. */
export type HandlerFailed = (device: string, error: unknown, ends: boolean) => void

/** What a device reads as when its handler has failed. */
const ALL_ONES = 2n ** 64n - 1n

/** A device whose handlers run on this thread. */
interface Served {
  readonly device: LocalDevice
  /** Settles when the handler of the last reset is done. */
  reset?: Promise<void> | undefined
}

/** The JavaScript devices of one machine. */
export class JavaScriptDevices {
  readonly #control: Control
  readonly #failed: HandlerFailed
  /** By index; undefined for a device whose worker answers. */
  readonly #local: (Served | undefined)[] = []
  readonly #names: string[] = []
  #ended = false

  constructor(control: Control, failed: HandlerFailed) {
    this.#control = control
    this.#failed = failed
  }

  /** The names of the devices. */
  get names(): readonly string[] {
    return this.#names
  }

  add(device: DeviceOptions): Promise<MachineDevice> {
    return this.#control.whole(() => this.#add(device))
  }

  async #add(device: DeviceOptions): Promise<MachineDevice> {
    const claim = checkDevice(device)
    const name = deviceName(device)
    const worker = device.worker !== undefined
    const command = { kind: 'add-device', name, worker, ...claim } as const
    const map = ({ index }: { index: number }) => {
      const { native } = this.#control
      this.#names.push(name)
      if (device.worker === undefined) this.#local[index] = { device }
      else startDeviceWorker(device, native.deviceToken(index), (error, ends) => this.#report(device, error, ends))
      return new MachineDevice(name, this.#control, claim.irq && (high => native.setDeviceLine(index, high)))
    }
    return this.#control.call({ operation: 'addDevice', command, reply: 'device', map })
  }

  /** Answers an access; never throws. */
  access(index: number, access: BindingDeviceAccess): void {
    const served = this.#local[index]
    if (served) this.#control.answering(() => this.#handle(index, served, access))
  }

  /** The machine was reset; never throws. */
  reset(index: number): void {
    this.#control.native.deviceResetSeen(index)
    const served = this.#local[index]
    if (!served?.device.reset) return
    const before = served.reset
    this.#control.answering(() => {
      const reset = this.#reset(served.device, before).finally(() => {
        if (served.reset === reset) served.reset = undefined
      })
      return (served.reset = reset)
    })
  }

  /** The machine is ending: failures are no longer reported. */
  end(): void {
    this.#ended = true
  }

  async #reset(device: LocalDevice, before: Promise<void> | undefined): Promise<void> {
    if (before) await before
    try {
      const result = device.reset?.()
      if (result) await result
    } catch (error) {
      this.#report(device, error, device.onError !== 'all-ones')
    }
  }

  async #handle(index: number, served: Served, { id, write, offset, size, value }: BindingDeviceAccess) {
    const { device } = served
    const { native } = this.#control
    try {
      if (served.reset) await served.reset
      if (write) {
        const result = device.write?.(offset, size, registerValue(value, size))
        if (result) await result
        native.answerDevice(index, id, 0n)
      } else {
        const result = device.read ? device.read(offset, size) : -1
        const read = result instanceof Promise ? await result : result
        native.answerDevice(index, id, registerBits(read, deviceName(device), size))
      }
    } catch (error) {
      const ends = device.onError !== 'all-ones'
      this.#report(device, error, ends)
      if (!ends) native.answerDevice(index, id, ALL_ONES)
    }
  }

  #report(device: DeviceOptions, error: unknown, ends: boolean): void {
    if (!this.#ended) this.#failed(deviceName(device), error, ends)
  }
}
