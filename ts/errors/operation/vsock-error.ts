import { KvmAccelError, type ErrorDetails } from '../kvm-accel-error.js'

/** What can be in the way of a connection between guest and host. */
export const vsockProblems = ['refused', 'not-ready', 'too-many', 'in-use'] as const

/**
 * What is in the way:
 * - `refused`: nobody in the guest listens to the port;
 * - `not-ready`: the guest has no driver at work: it has not started yet, was reset meanwhile, or has ended;
 * - `too-many`: the device has 128 connections, or the host no descriptor left;
 * - `in-use`: the port has a listener.
 */
export type VsockProblem = (typeof vsockProblems)[number]

/** A connection to the guest that there cannot be, or a port that cannot be listened to. */
export class VsockError extends KvmAccelError {
  override readonly name = 'VsockError'
  declare readonly code: 'ERR_VSOCK'
  /** What is in the way, for programs. */
  readonly problem: VsockProblem

  constructor(message: string, details: ErrorDetails & { readonly problem: VsockProblem }) {
    super('ERR_VSOCK', message, details)
    this.problem = details.problem
  }
}
