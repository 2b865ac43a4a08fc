import { KvmAccelError, type ErrorDetails } from '../kvm-accel-error.js'

/** Why a connection between guest and host failed. */
export const vsockProblems = ['refused', 'not-ready', 'too-many', 'in-use', 'timeout'] as const

/**
 * Why a vsock operation failed:
 * - `refused`: no program in the guest listens on the port;
 * - `not-ready`: no driver of the guest uses the device: the guest has not started yet, was reset
 *   meanwhile, or has ended;
 * - `too-many`: the device has its maximum number of connections, or the host has no descriptor
 *   left;
 * - `in-use`: the port already has a listener;
 * - `timeout`: the guest did not accept within option `timeout`.
 */
export type VsockProblem = (typeof vsockProblems)[number]

/** A connection to the guest failed, or listening on a port failed. */
export class VsockError extends KvmAccelError {
  override readonly name = 'VsockError'
  declare readonly code: 'ERR_VSOCK'
  /** The cause, for programs. */
  readonly problem: VsockProblem

  constructor(message: string, details: ErrorDetails & { readonly problem: VsockProblem }) {
    super('ERR_VSOCK', message, details)
    this.problem = details.problem
  }
}
