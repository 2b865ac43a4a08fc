import { checkVcpu, checkWhole } from '../../errors/operation/argument-error.js'
import type { BindingBreakpoint, BindingCommand } from '../../native/binding.cjs'
import type { Control } from '../lifecycle/control.js'
import type { DebugEvent } from '../events/debug-event.js'
import { addressOf, type Breakpoint, type MemoryPlace } from './breakpoint.js'

/** The interface of a machine for its debugger. */
export interface DebuggedMachine {
  readonly control: Control
  readonly cpus: number
  /** Returns true if this kernel can debug guests and the machine has not ended. */
  supported(): boolean
  /** Runs the machine for one step of a vCPU. Resolves when the machine has stopped. */
  step(vcpu: number): Promise<DebugEvent | undefined>
}

/** The maximum number of bytes that one call reads: 1 GiB. */
const MAX_LENGTH = 2 ** 30

/** The number of bytes that one command writes. Copying them takes about a millisecond. */
const PIECE = 2 ** 22

/**
 * Breakpoints, watchpoints, single steps and memory of a {@linkcode Machine} that does not run.
 *
 * A breakpoint stops the whole machine in run state `debug`, and the event `debug` reports its
 * address. As under QEMU, a machine that is resumed at a breakpoint stops there again: call
 * {@linkcode Debugger.step} first.
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

  /**
   * True if this host's KVM can debug guests (KVM_CAP_SET_GUEST_DEBUG) and the machine has not
   * ended.
   */
  get supported(): boolean {
    return this.#machine.supported()
  }

  /**
   * Sets a breakpoint or a watchpoint.
   *
   * @throws {@linkcode BreakpointError} when the breakpoint is invalid; {@linkcode ArgumentError} for
   * an address or a vCPU that does not exist.
   * @throws {@linkcode MachineStateError} in run state `running`.
   * @throws {@linkcode KvmCapabilityError}, {@linkcode KvmIoctlError}: the host.
   */
  insertBreakpoint(breakpoint: Breakpoint): Promise<void> {
    return this.#machine.control.whole(async () => {
      const vcpu = this.#index(breakpoint.vcpu ?? 0)
      return this.#done('debug.insertBreakpoint', { kind: 'insert-breakpoint', vcpu, breakpoint: binding(breakpoint) })
    })
  }

  /**
   * Removes a breakpoint or a watchpoint, identified by the same fields. A software breakpoint that
   * was set several times is removed by as many calls.
   *
   * @throws as {@linkcode Debugger.insertBreakpoint}.
   */
  removeBreakpoint(breakpoint: Breakpoint): Promise<void> {
    return this.#machine.control.whole(async () => {
      const vcpu = this.#index(breakpoint.vcpu ?? 0)
      return this.#done('debug.removeBreakpoint', { kind: 'remove-breakpoint', vcpu, breakpoint: binding(breakpoint) })
    })
  }

  /**
   * Removes all breakpoints and watchpoints.
   *
   * @throws {@linkcode MachineStateError} in run state `running`.
   * @throws {@linkcode KvmCapabilityError}, {@linkcode KvmIoctlError}: the host.
   */
  clear(): Promise<void> {
    return this.#done('debug.clear', { kind: 'clear-breakpoints' })
  }

  /**
   * Lets a vCPU execute one instruction, also at a breakpoint. Interrupts are blocked where the
   * kernel can block them. The other vCPUs stay stopped. Resolves when the machine has stopped
   * again: with the same object as event `debug`, or with undefined when the guest ended, reset
   * itself or was paused before the step was done.
   *
   * @throws {@linkcode MachineStateError} unless the run state is `prelaunch`, `paused`, `debug` or
   * `guest-panicked`. During a step it is `running`: await a step before the next one.
   * @throws {@linkcode KvmCapabilityError}: the host.
   */
  step(vcpu = 0): Promise<DebugEvent | undefined> {
    return this.#machine.control.whole(async () => this.#machine.step(this.#index(vcpu)))
  }

  /**
   * Reads guest memory.
   *
   * @param length - Bytes, 0 to 1 GiB.
   * @throws {@linkcode GuestMemoryError} with the first address that is not mapped or is not RAM.
   * @throws {@linkcode ArgumentError} for another length, and for a vCPU that does not exist.
   * @throws {@linkcode MachineStateError} in run state `running`.
   */
  readMemory(address: bigint | number, length: number, place: MemoryPlace = {}): Promise<Uint8Array> {
    const { control } = this.#machine
    return control.whole(async () => {
      checkWhole('length', length, 0, MAX_LENGTH, 'bytes')
      return control.call({
        operation: 'debug.readMemory',
        command: { kind: 'read-memory', ...this.#view(place), address: addressOf(address), length },
        reply: 'memory',
        map: ({ bytes }) => bytes,
      })
    })
  }

  /**
   * Writes guest memory. When an address cannot be written, the bytes before it have been written.
   * The bytes are copied in pieces of 4 MiB, each by a command of its own, so that the event loop
   * is not blocked. Do not change them before the promise settles.
   *
   * @throws as {@linkcode Debugger.readMemory}.
   */
  writeMemory(address: bigint | number, bytes: Uint8Array, place: MemoryPlace = {}): Promise<void> {
    return this.#machine.control.whole(async () => {
      const view = this.#view(place)
      const start = addressOf(address)
      for (let at = 0; at === 0 || at < bytes.length; at += PIECE) {
        const piece = { address: start + BigInt(at), bytes: bytes.subarray(at, at + PIECE) }
        await this.#done('debug.writeMemory', { kind: 'write-memory', ...view, ...piece })
      }
    })
  }

  #view({ vcpu = 0, physical = false }: MemoryPlace): { vcpu?: number } {
    return physical ? {} : { vcpu: this.#index(vcpu) }
  }

  #done(operation: string, command: BindingCommand): Promise<void> {
    return this.#machine.control.call({ operation, command, reply: 'done', map: () => {} })
  }

  #index(vcpu: number): number {
    checkVcpu(vcpu, this.#machine.cpus)
    return vcpu
  }
}

const binding = ({ type, address, length = 1 }: Breakpoint): BindingBreakpoint => ({
  kind: type,
  address: addressOf(address),
  length,
})
