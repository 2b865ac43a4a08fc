import { KvmAccelError, type ErrorDetails } from '../kvm-accel-error.js'

/** The problems of waiting for output of the guest. */
export const expectProblems = ['timeout', 'ended', 'busy'] as const

/**
 * Why the expected output did not arrive:
 * - `timeout`: the time limit passed;
 * - `ended`: the port has no further output: the machine has ended, or the port's target is not
 *   `'stream'`;
 * - `busy`: a pipe, a `'data'` listener or `resume()` reads the port already.
 */
export type ExpectProblem = (typeof expectProblems)[number]

/** A port did not output the expected text. */
export class ExpectError extends KvmAccelError {
  override readonly name = 'ExpectError'
  declare readonly code: 'ERR_EXPECT'
  /** The cause, for programs. */
  readonly problem: ExpectProblem
  /** The output that did not match, at most its last 64 KiB. */
  readonly output: string

  constructor(message: string, details: ErrorDetails & { readonly problem: ExpectProblem; readonly output: string }) {
    super('ERR_EXPECT', message, details)
    this.problem = details.problem
    this.output = details.output
  }
}
