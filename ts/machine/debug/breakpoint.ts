/** A breakpoint, or a watchpoint (`write`, `access`). It is for all vCPUs of a machine. */
export interface Breakpoint {
  /**
   * - `software`: an `int3` in the guest's memory; any number of them, each counted.
   * - `hardware`: a breakpoint register, for execution.
   * - `write`: a breakpoint register, for stores.
   * - `access`: a breakpoint register, for loads and stores. x86 cannot watch for loads alone.
   *
   * There are four registers.
   */
  readonly type: 'software' | 'hardware' | 'write' | 'access'
  /** Linear address, 0 to 2^64-1. */
  readonly address: bigint | number
  /**
   * Bytes that a watchpoint covers: 1, 2, 4 or 8; the address is a multiple of it.
   *
   * @default 1
   */
  readonly length?: 1 | 2 | 4 | 8
  /**
   * The vCPU whose page tables the address of a software breakpoint is looked up in.
   *
   * @default 0
   */
  readonly vcpu?: number
}

/** Where {@linkcode Debugger.readMemory} looks. */
export interface MemoryPlace {
  /**
   * The vCPU whose page tables the address is looked up in.
   *
   * @default 0
   */
  readonly vcpu?: number
  /**
   * The address is a guest physical one.
   *
   * @default false
   */
  readonly physical?: boolean
}

/**
 * A linear or physical address.
 *
 * @throws RangeError when it is no whole number of 64 bits.
 */
export function addressOf(address: bigint | number): bigint {
  const whole = typeof address === 'bigint' || Number.isSafeInteger(address)
  if (!whole || address < 0 || address > 0xffff_ffff_ffff_ffffn) {
    throw new RangeError(`An address is a whole number from 0 to 2^64-1, not ${address}`)
  }
  return BigInt(address)
}
