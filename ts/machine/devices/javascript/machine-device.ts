import { MachineConfigError } from '../../../errors/options/machine-config-error.js'
import { DeviceMemory } from './device-memory.js'
import type { Control } from '../../lifecycle/control.js'

/**
 * A device that {@linkcode Machine.addDevice} has added: its interrupt line, and the guest's memory.
 */
export class MachineDevice {
  /** The name of the device. */
  readonly name: string
  /** Guest memory at physical addresses. */
  readonly memory: DeviceMemory
  readonly #setLine: ((high: boolean) => void) | undefined

  /** @internal Use {@linkcode Machine.addDevice}. */
  constructor(name: string, control: Control, setLine: ((high: boolean) => void) | undefined) {
    this.name = name
    this.memory = new DeviceMemory(control)
    this.#setLine = setLine
  }

  /**
   * Raises the interrupt line: one interrupt with `trigger: 'edge'`, an interrupt until
   * {@linkcode MachineDevice.lower} with `'level'`. Takes effect before it returns. Does nothing
   * after the end of the machine.
   *
   * @throws {@linkcode MachineConfigError} when the device has no `irq`.
   */
  raise(): void {
    this.#line('raise')(true)
  }

  /**
   * Lowers the interrupt line. Has no effect with `trigger: 'edge'`.
   *
   * @throws {@linkcode MachineConfigError} when the device has no `irq`.
   */
  lower(): void {
    this.#line('lower')(false)
  }

  #line(operation: string): (high: boolean) => void {
    if (this.#setLine) return this.#setLine
    throw new MachineConfigError(`${operation}() is not possible: device '${this.name}' has no interrupt line`, {
      option: 'device',
      remedy: 'Add the device with irq, for example { irq: 3 }.',
    })
  }
}
