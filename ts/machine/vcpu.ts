import type { BindingMachine } from '../native/binding.cjs'
import { unwrap } from '../native/native.js'
import { bindingVcpuState, vcpuState } from '../native/vcpu-state.js'
import { changed } from './vcpu-change.js'
import type { VcpuState, VcpuStateChange } from './vcpu-state.js'
import type { Operation } from './run-state.js'

/**
 * A vCPU of a {@linkcode Machine}.
 *
 * @example
 * ```ts
 * import { Machine, guestImage } from 'kvm-accel'
 *
 * await using machine = await Machine.create({ kernel: guestImage('spin'), memory: '16M' })
 * await machine.start()
 * await machine.pause()
 * const vcpu = machine.vcpus[0]!
 * const { general, control } = await vcpu.state()
 * console.log(`at 0x${general.rip.toString(16)}, cr0 0x${control.cr0.toString(16)}`)
 * await vcpu.setState({ general: { rax: 1n } })
 * await machine.resume()
 * ```
 */
export class Vcpu {
  /** From 0; also the APIC id. */
  readonly index: number
  readonly #native: BindingMachine
  readonly #check: (operation: Operation) => void

  /** @internal Use {@linkcode Machine.vcpus}. */
  constructor(index: number, native: BindingMachine, check: (operation: Operation) => void) {
    this.index = index
    this.#native = native
    this.#check = check
  }

  /**
   * Reads the whole register file, with changes that wait for the next entry. The machine must not run.
   *
   * @throws {@linkcode MachineStateError} in run state `running`.
   * @throws {@linkcode KvmIoctlError}: the kernel refused.
   */
  async state(): Promise<VcpuState> {
    return this.#read('vcpu.state')
  }

  /**
   * Changes registers. They are written when the machine goes on, at QEMU's level RUNTIME; a {@linkcode Machine.reset} before
   * forgets them. A change that the kernel refuses then stops the machine in run state `internal-error`.
   *
   * @throws {@linkcode MachineStateError} in run state `running`.
   * @throws TypeError, RangeError: a register that does not exist, a value that does not fit.
   */
  async setState(change: VcpuStateChange): Promise<void> {
    const state = changed(this.#read('vcpu.setState'), change)
    const error = this.#native.setVcpuState(this.index, bindingVcpuState(state))
    if (error) unwrap(error)
  }

  #read(operation: Operation): VcpuState {
    this.#check(operation)
    const state = this.#native.vcpuState(this.index)
    // `check` has refused a machine without a board.
    return vcpuState(unwrap(state!))
  }
}
