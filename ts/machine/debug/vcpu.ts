import { bindingVcpuState, vcpuState } from './binding-vcpu-state.js'
import type { Control } from '../lifecycle/control.js'
import { changed } from './vcpu-change.js'
import type { VcpuState, VcpuStateChange } from './vcpu-state.js'

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
  /** The index of the vCPU, from 0. It is also the APIC id. */
  readonly index: number
  readonly #control: Control

  /** @internal Use {@linkcode Machine.vcpus}. */
  constructor(index: number, control: Control) {
    this.index = index
    this.#control = control
  }

  /**
   * Reads the whole register file, including changes that wait for the next entry into the guest.
   * The machine must not run.
   *
   * @throws {@linkcode MachineStateError} in run state `running`.
   * @throws {@linkcode KvmIoctlError}: the kernel refused.
   */
  state(): Promise<VcpuState> {
    return this.#control.call({
      operation: 'vcpu.state',
      command: { kind: 'vcpu-state', vcpu: this.index, toChange: false },
      reply: 'vcpu-state',
      map: ({ state }) => vcpuState(state),
    })
  }

  /**
   * Changes registers. They are written when the machine is resumed, at QEMU's level RUNTIME; a
   * {@linkcode Machine.reset} before that discards them. A change that the kernel then refuses
   * stops the machine in run state `internal-error`.
   *
   * @throws {@linkcode MachineStateError} in run state `running`.
   * @throws {@linkcode ArgumentError} for a register that does not exist, and for a value that does not fit.
   */
  setState(change: VcpuStateChange): Promise<void> {
    const vcpu = this.index
    const operation = 'vcpu.setState'
    return this.#control.exchange({
      operation,
      command: { kind: 'vcpu-state', vcpu, toChange: true },
      reply: 'vcpu-state',
      map: ({ state }) => ({
        kind: 'set-vcpu-state',
        vcpu,
        state: bindingVcpuState(changed(vcpuState(state), change)),
      }),
    })
  }
}
