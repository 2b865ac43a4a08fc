import { invalidArgument } from '../../errors/operation/argument-error.js'
/** A breakpoint, or a watchpoint (`write`, `access`). It applies to all vCPUs of a machine. */
export interface Breakpoint {
  /**
   * - `software`: an `int3` in the guest's memory. Their number is unlimited, and each is counted.
   * - `hardware`: a breakpoint register, for execution.
   * - `write`: a breakpoint register, for stores.
   * - `access`: a breakpoint register, for loads and stores. x86 has no watchpoint for loads alone.
   *
   * The processor has four breakpoint registers.
   */
  readonly type: 'software' | 'hardware' | 'write' | 'access'
  /** Linear address, 0 to 2^64-1. */
  readonly address: bigint | number
  /**
   * Bytes that a watchpoint covers: 1, 2, 4 or 8. The address must be a multiple of it.
   *
   * @default 1
   */
  readonly length?: 1 | 2 | 4 | 8
  /**
   * The vCPU whose page tables translate the address of a software breakpoint.
   *
   * @default 0
   */
  readonly vcpu?: number | undefined
}

/**
 * How {@linkcode Debugger.readMemory} and {@linkcode Debugger.writeMemory} translate an address.
 */
export interface MemoryPlace {
  /**
   * The vCPU whose page tables translate the address.
   *
   * @default 0
   */
  readonly vcpu?: number | undefined
  /**
   * The address is a guest physical address.
   *
   * @default false
   */
  readonly physical?: boolean | undefined
}

/**
 * Converts a linear or physical address.
 *
 * @throws {@linkcode ArgumentError} when it is not a whole number of 64 bits.
 */
export function addressOf(address: bigint | number): bigint {
  const whole = typeof address === 'bigint' || Number.isSafeInteger(address)
  if (!whole || address < 0 || address > 0xffff_ffff_ffff_ffffn) {
    throw invalidArgument('address', address, 'a whole number from 0 to 2^64 - 1')
  }
  return BigInt(address)
}
