import { KvmAccelError, type ErrorDetails } from '../kvm-accel-error.js'

/** The problems that a breakpoint can have. */
export const breakpointProblems = [
  'exists',
  'too-many',
  'length',
  'alignment',
  'unknown',
  'unreachable',
  'unsupported',
] as const

/**
 * The problem of a breakpoint:
 * - `exists`: the same breakpoint is already set;
 * - `too-many`: the processor's four registers are in use;
 * - `length`: a watchpoint that is not 1, 2, 4 or 8 bytes long;
 * - `alignment`: a watchpoint whose address is no multiple of its length;
 * - `unknown`: the breakpoint to remove is not set;
 * - `unreachable`: its address is not in guest memory;
 * - `unsupported`: the processor does not support this type, for example a watchpoint for loads
 *   alone.
 */
export type BreakpointProblem = (typeof breakpointProblems)[number]

/** A breakpoint could not be set or removed. */
export class BreakpointError extends KvmAccelError {
  override readonly name = 'BreakpointError'
  declare readonly code: 'ERR_BREAKPOINT'
  /** The problem of the breakpoint, for programs. */
  readonly problem: BreakpointProblem

  constructor(message: string, details: ErrorDetails & { readonly problem: BreakpointProblem }) {
    super('ERR_BREAKPOINT', message, details)
    this.problem = details.problem
  }
}
