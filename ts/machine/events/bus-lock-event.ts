import type { NotifyRegisters } from './notify-event.js'

/** A bus lock: the guest locked the whole memory bus by a split or an uncached locked access. */
export interface BusLockEvent {
  /** Index of the vCPU, from 0. */
  readonly vcpu: number
  /** The instruction pointer, after the locked access. */
  readonly rip: bigint
  /** The instruction at `rip`, disassembled; empty when it cannot be read. */
  readonly instruction: string
  /** The general registers. */
  readonly registers: NotifyRegisters
  /** Bus locks of this vCPU so far, this one included. */
  readonly total: number
  /** Milliseconds that the vCPU waits outside the guest for this bus lock; 0 below the limit. */
  readonly throttled: number
  /** Events lost directly before this one, because 1024 already waited for the event loop. */
  readonly dropped: number
}
