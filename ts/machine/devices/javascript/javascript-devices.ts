import { Worker } from 'node:worker_threads'
import type { BindingDeviceAccess } from '../../../native/binding.cjs'
import { MachineConfigError } from '../../../errors/options/machine-config-error.js'
import { native } from '../../../native/native.js'
import type { Control } from '../../lifecycle/control.js'
import { registerBits, registerValue, type DeviceOptions, type DevicePlace, type LocalDevice } from './device.js'

/**
 * The JavaScript devices of one machine. `failed` gets the exception of a handler or a worker; the
 * vCPU still waits at that time.
 */
export class JavaScriptDevices {
  readonly #control: Control
  readonly #failed: (error: unknown) => void
  /** By index; undefined for a device whose worker answers. */
  readonly #local: (LocalDevice | undefined)[] = []
  #ended = false

  constructor(control: Control, failed: (error: unknown) => void) {
    this.#control = control
    this.#failed = failed
  }

  add(device: DeviceOptions): Promise<void> {
    return this.#control.whole(() => this.#add(device))
  }

  async #add(device: DeviceOptions): Promise<void> {
    const name = device.name ?? 'device'
    checkHandlers(device)
    const worker = device.worker !== undefined
    const command = { kind: 'add-device', name, worker, ...claim(device) } as const
    const map = ({ index }: { index: number }) => {
      this.#local[index] = worker ? undefined : device
      if (worker) this.#start(name, this.#control.native.deviceToken(index), device.worker, device.workerData)
    }
    return this.#control.call({ operation: 'addDevice', command, reply: 'device', map })
  }

  /** Answers an access; never throws. */
  access(index: number, access: BindingDeviceAccess): void {
    const device = this.#local[index]
    if (device) this.#control.answering(() => this.#handle(index, device, access))
  }

  /** The machine is ending: the addon notifies the workers, and failures are no longer reported. */
  end(): void {
    this.#ended = true
  }

  async #handle(index: number, device: LocalDevice, { id, write, offset, size, value }: BindingDeviceAccess) {
    try {
      if (write) {
        const result = device.write?.(offset, size, registerValue(value, size))
        if (result) await result
        this.#control.native.answerDevice(index, id, 0n)
      } else {
        const result = device.read ? device.read(offset, size) : -1
        const read = result instanceof Promise ? await result : result
        this.#control.native.answerDevice(index, id, registerBits(read, device.name ?? 'device', size))
      }
    } catch (error) {
      if (!this.#ended) this.#failed(error)
    }
  }

  #start(name: string, token: number, module: URL | string, data: unknown): void {
    // With `--input-type`, Node.js would not read the file of the worker.
    const execArgv = process.execArgv.filter(argument => !argument.startsWith('--input-type'))
    let worker: Worker
    try {
      worker = new Worker(module, { workerData: { device: token, name, data }, execArgv })
    } catch (error) {
      // The path is invalid, or the data cannot be copied. The device stays on the bus: this call
      // makes its accesses read all ones. Without it the guest would wait forever.
      native().forgetDevice(token)
      throw error
    }
    worker.unref()
    worker.on('error', error => {
      if (!this.#ended) this.#failed(error)
    })
    worker.on('exit', () => {
      native().forgetDevice(token)
      if (!this.#ended) this.#failed(new Error(`The worker of device '${name}' ended before its machine`))
    })
  }
}

function claim(device: DevicePlace): { pio: boolean; base: bigint; len: bigint } {
  const place = device.pio ?? device.mmio
  if (!place || (device.pio && device.mmio)) throw bad(device, "needs either 'pio' or 'mmio', and not both")
  const [base, length] = place
  const whole = (value: unknown) =>
    typeof value === 'bigint' ? value >= 0n : Number.isSafeInteger(value) && Number(value) >= 0
  if (place.length !== 2 || !whole(base) || !whole(length))
    throw bad(device, `has an invalid place [${String(place)}]: expected two whole numbers from 0 on`)
  return { pio: place === device.pio, base: BigInt(base), len: BigInt(length) }
}

function checkHandlers(device: DeviceOptions): void {
  const { read, write, worker } = device
  const callable = (value: unknown) => value === undefined || typeof value === 'function'
  if (!callable(read) || !callable(write)) throw bad(device, "has an invalid 'read' or 'write': expected a function")
  if (worker !== undefined && (read || write)) throw bad(device, "has both a worker and 'read' or 'write'")
  if (worker === undefined && !read && !write) throw bad(device, "has neither 'read', 'write' nor 'worker'")
}

function bad(device: DevicePlace, what: string): MachineConfigError {
  const remedy = 'Give { pio: [port, count] } or { mmio: [address, length] }, and either read and write, or a worker.'
  return new MachineConfigError(`device '${device.name ?? 'device'}' ${what}`, { option: 'device', remedy })
}
