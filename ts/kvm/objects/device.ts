import type { BindingKvmDevice } from '../../native/binding.cjs'
import { Closable } from './closable.js'

/**
 * A device in the kernel, created by {@linkcode Vm.createDevice}. Errors are those of
 * {@linkcode Kvm}.
 */
export class Device extends Closable {
  readonly #native: BindingKvmDevice

  /** @internal */
  constructor(device: BindingKvmDevice) {
    super(device)
    this.#native = device
  }

  /** `KVM_HAS_DEVICE_ATTR`: throws `ENXIO` when the device has no such attribute. */
  hasDeviceAttr(group: number, attr: number): void {
    this.checked('KVM_HAS_DEVICE_ATTR', this.#native.hasAttr(group, attr))
  }

  /**
   * `KVM_GET_DEVICE_ATTR`: fills `into`, which must have the length of the attribute; `EFAULT` when
   * it is shorter.
   */
  getDeviceAttr(group: number, attr: number, into: Uint8Array): Uint8Array {
    this.checked('KVM_GET_DEVICE_ATTR', this.#native.getAttr(group, attr, into))
    return into
  }

  /** `KVM_SET_DEVICE_ATTR`: `EFAULT` when the attribute is longer than `value`. */
  setDeviceAttr(group: number, attr: number, value: Uint8Array): void {
    this.checked('KVM_SET_DEVICE_ATTR', this.#native.setAttr(group, attr, value))
  }
}
