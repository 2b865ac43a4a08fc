import type { NotifyRegisters } from './notify-event.js'

/** A bus lock: the guest locked the whole memory bus, with a split or an uncached locked access. */
export interface BusLockEvent {
  /** Index of the vCPU, from 0. */
  readonly vcpu: number
  /** Where the vCPU is: the locked access is behind it. */
  readonly rip: bigint
  /** The instruction there, disassembled; empty when it cannot be read. */
  readonly instruction: string
  /** The general registers. */
  readonly registers: NotifyRegisters
  /** Bus locks of this vCPU so far, this one included. */
  readonly total: number
  /** Milliseconds that the vCPU is kept out of the guest for it; 0 below the limit. */
  readonly throttled: number
  /** Events that were lost just before this one, because 1024 already waited for the event loop. */
  readonly dropped: number
}
