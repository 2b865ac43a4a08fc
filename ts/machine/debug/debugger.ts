import type { BindingBreakpoint, BindingMachine } from '../../native/binding.cjs'
import { unwrap } from '../../native/native.js'
import type { Operation } from '../run-state.js'
import { addressOf, type Breakpoint, type DebugEvent, type MemoryPlace } from './breakpoint.js'

/** What a debugger needs of its machine. */
export interface DebuggedMachine {
  readonly native: BindingMachine
  readonly cpus: number
  /** Throws where the run state forbids it. */
  check(operation: Operation): void
  /** The machine runs for one step of a vCPU; resolves when it has stopped. */
  step(vcpu: number): Promise<DebugEvent | undefined>
}

/** The most bytes that one call reads: 1 GiB. */
const MAX_LENGTH = 2 ** 30

/**
 * Breakpoints, watchpoints, single steps and memory of a {@linkcode Machine} that does not run.
 *
 * A breakpoint that is reached stops the whole machine in run state `debug`, and the event `debug` tells where. As under QEMU, a
 * machine that is resumed at a breakpoint stops there again: step first.
 *
 * @example
 * ```ts
 * import { Machine, guestImage } from 'kvm-accel'
 *
 * await using machine = await Machine.create({ kernel: guestImage('spin'), memory: '16M' })
 * for (let n = 0; n < 10; n++) {
 *   const stop = await machine.debug.step()
 *   if (stop) console.log(stop.rip, await machine.debug.readMemory(stop.rip, 15))
 * }
 * await machine.resume()
 * ```
 */
export class Debugger {
  readonly #machine: DebuggedMachine

  /** @internal Use {@linkcode Machine.debug}. */
  constructor(machine: DebuggedMachine) {
    this.#machine = machine
  }

  /** This host's KVM lets guests be debugged (KVM_CAP_SET_GUEST_DEBUG); false also when the machine has ended. */
  get supported(): boolean {
    return this.#machine.native.debugSupported()
  }

  /**
   * Sets a breakpoint or a watchpoint.
   *
   * @throws {@linkcode BreakpointError}: the rule that it breaks.
   * @throws {@linkcode MachineStateError} in run state `running`.
   * @throws {@linkcode KvmCapabilityError}, {@linkcode KvmIoctlError}: the host.
   */
  async insertBreakpoint(breakpoint: Breakpoint): Promise<void> {
    this.#machine.check('debug.insertBreakpoint')
    done(this.#machine.native.insertBreakpoint(this.#binding(breakpoint)))
  }

  /**
   * Removes one, named as it was set; a software breakpoint when it has been removed as often as it was set.
   *
   * @throws as {@linkcode Debugger.insertBreakpoint}.
   */
  async removeBreakpoint(breakpoint: Breakpoint): Promise<void> {
    this.#machine.check('debug.removeBreakpoint')
    done(this.#machine.native.removeBreakpoint(this.#binding(breakpoint)))
  }

  /**
   * Removes all breakpoints and watchpoints.
   *
   * @throws {@linkcode MachineStateError} in run state `running`.
   * @throws {@linkcode KvmCapabilityError}, {@linkcode KvmIoctlError}: the host.
   */
  async clear(): Promise<void> {
    this.#machine.check('debug.clear')
    done(this.#machine.native.clearBreakpoints())
  }

  /**
   * Has a vCPU execute one instruction, also at a breakpoint, with interrupts kept away where the kernel can. The other vCPUs stand
   * still. Resolves when the machine has stopped again: with what the event `debug` tells, or with undefined when the guest ended, reset
   * itself or was paused before the step was done.
   *
   * @throws {@linkcode MachineStateError} unless the run state is `prelaunch`, `paused` or `debug`.
   * @throws {@linkcode KvmCapabilityError}: the host.
   */
  async step(vcpu = 0): Promise<DebugEvent | undefined> {
    this.#machine.check('debug.step')
    return this.#machine.step(this.#index(vcpu))
  }

  /**
   * Reads the guest's memory.
   *
   * @param length - Bytes, 0 to 1 GiB.
   * @throws {@linkcode GuestMemoryError} with the first address that is not mapped or has no RAM.
   * @throws {@linkcode MachineStateError} in run state `running`.
   */
  async readMemory(address: bigint | number, length: number, place: MemoryPlace = {}): Promise<Uint8Array> {
    this.#machine.check('debug.readMemory')
    if (!Number.isInteger(length) || length < 0 || length > MAX_LENGTH) {
      throw new RangeError(`length takes 0 to ${MAX_LENGTH} bytes, not ${length}`)
    }
    // `check` has refused a machine without a board.
    return unwrap(this.#machine.native.readMemory(this.#view(place), addressOf(address), length)!)
  }

  /**
   * Writes the guest's memory. What lies before an address that cannot be written has been written.
   *
   * @throws as {@linkcode Debugger.readMemory}.
   */
  async writeMemory(address: bigint | number, bytes: Uint8Array, place: MemoryPlace = {}): Promise<void> {
    this.#machine.check('debug.writeMemory')
    done(this.#machine.native.writeMemory(this.#view(place), addressOf(address), bytes))
  }

  #binding({ type, address, length = 1, vcpu = 0 }: Breakpoint): BindingBreakpoint {
    return { kind: type, address: addressOf(address), length, vcpu: this.#index(vcpu) }
  }

  #view({ vcpu = 0, physical = false }: MemoryPlace): number | null {
    return physical ? null : this.#index(vcpu)
  }

  #index(vcpu: number): number {
    const { cpus } = this.#machine
    if (Number.isInteger(vcpu) && vcpu >= 0 && vcpu < cpus) return vcpu
    throw new RangeError(`There is no vCPU ${vcpu}: this machine has ${cpus}, counted from 0`)
  }
}

const done = (error: Parameters<typeof unwrap>[0] | null): void => {
  if (error) unwrap(error)
}
