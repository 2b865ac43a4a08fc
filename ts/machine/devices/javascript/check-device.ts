// Checks the options of a device before the control thread gets them.

import { MachineConfigError } from '../../../errors/options/machine-config-error.js'
import { didYouMean } from '../../../errors/suggest.js'
import type { BindingDeviceIrq } from '../../../native/binding.cjs'
import { deviceName, type DeviceIrq, type DeviceOptions, type DevicePlace } from './device.js'

/** The keys that {@link DeviceOptions} have. */
const KEYS = ['pio', 'mmio', 'irq', 'onError', 'name', 'read', 'write', 'reset', 'worker', 'workerData']

/** The ports or addresses, and the interrupt line, as the control thread gets them. */
export interface Claim {
  readonly pio: boolean
  readonly base: bigint
  readonly len: bigint
  readonly irq?: BindingDeviceIrq
}

/**
 * Checks a device and returns its claim.
 *
 * @throws `MachineConfigError` that names the device and the rule.
 */
export function checkDevice(device: DeviceOptions): Claim {
  if (typeof device !== 'object' || device === null) throw bad({}, `is ${String(device)}: expected an object`)
  for (const key of Object.keys(device)) {
    if (!KEYS.includes(key)) throw bad(device, `has the unknown key '${key}'.${didYouMean(key, KEYS)}`)
  }
  const { name, onError } = device
  if (name !== undefined && typeof name !== 'string') throw bad({}, `has the name ${String(name)}: expected a text`)
  if (onError !== undefined && onError !== 'end' && onError !== 'all-ones') {
    throw bad(device, `has onError ${String(onError)}: expected 'end' or 'all-ones'`)
  }
  checkHandlers(device)
  const irq = interrupt(device)
  return { ...place(device), ...(irq && { irq }) }
}

function place(device: DevicePlace): Omit<Claim, 'irq'> {
  const range = device.pio ?? device.mmio
  if (!range || (device.pio && device.mmio)) throw bad(device, "needs either 'pio' or 'mmio', and not both")
  const whole = (value: unknown) =>
    typeof value === 'bigint' ? value >= 0n : Number.isSafeInteger(value) && Number(value) >= 0
  if (!Array.isArray(range) || range.length !== 2 || !range.every(whole)) {
    throw bad(
      device,
      `has an invalid place [${String(range)}]: expected two whole numbers, the first port or address and the length`,
    )
  }
  const [base, length] = range as readonly [number | bigint, number]
  return { pio: range === device.pio, base: BigInt(base), len: BigInt(length) }
}

function interrupt(device: DevicePlace): BindingDeviceIrq | undefined {
  const { irq } = device
  if (irq === undefined) return undefined
  const {
    line,
    trigger = 'edge',
    ...others
  } = (typeof irq === 'object' && irq !== null ? irq : { line: irq }) as DeviceIrq
  const [unknown] = Object.keys(others)
  if (unknown !== undefined) {
    throw bad(device, `has the unknown key 'irq.${unknown}'.${didYouMean(unknown, ['line', 'trigger'])}`)
  }
  if (!Number.isInteger(line) || line < 0 || line > 23) {
    throw bad(device, `has interrupt line ${String(line)}: expected a whole number from 0 to 23`)
  }
  if (trigger !== 'edge' && trigger !== 'level') {
    throw bad(device, `has irq.trigger ${String(trigger)}: expected 'edge' or 'level'`)
  }
  return { line, level: trigger === 'level' }
}

function checkHandlers(device: DeviceOptions): void {
  const { read, write, reset, worker } = device
  const callable = (value: unknown) => value === undefined || typeof value === 'function'
  if (!callable(read) || !callable(write) || !callable(reset)) {
    throw bad(device, "has an invalid 'read', 'write' or 'reset': expected a function")
  }
  if (worker === undefined) {
    if (!read && !write) throw bad(device, "has neither 'read', 'write' nor 'worker'")
    if ('workerData' in device && device.workerData !== undefined)
      throw bad(device, "has 'workerData' without 'worker'")
    return
  }
  if (read || write || reset) throw bad(device, "has both a worker and 'read', 'write' or 'reset'")
  if (typeof worker !== 'string' && !(worker instanceof URL)) {
    throw bad(device, `has the worker ${String(worker)}: expected a path or a URL`)
  }
}

/** Creates the error of a device. */
export function bad(device: DevicePlace, what: string, cause?: unknown): MachineConfigError {
  const remedy = 'It takes { pio: [port, count] } or { mmio: [address, length] }, and read, write, or a worker.'
  return new MachineConfigError(`device '${deviceName(device)}' ${what}`, { option: 'device', remedy, cause })
}
