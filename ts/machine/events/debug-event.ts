/**
 * A vCPU stopped at a breakpoint or a watchpoint, or after a step. All other vCPUs are stopped too.
 */
export interface DebugEvent {
  /** Index of the vCPU, from 0. */
  readonly vcpu: number
  /**
   * - `step`: the vCPU has executed one instruction;
   * - `breakpoint`: the vCPU is at a breakpoint and has not executed its instruction;
   * - `watchpoint`: the vCPU has made an access that a watchpoint covers.
   */
  readonly reason: 'step' | 'breakpoint' | 'watchpoint'
  /** The linear address of the breakpoint or watchpoint; after a step, the instruction pointer. */
  readonly address: bigint
  /** The instruction pointer. */
  readonly rip: bigint
}
