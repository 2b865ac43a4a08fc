import { KvmAccelError, type ErrorDetails } from '../kvm-accel-error.js'

/** An argument of a call is invalid: a number out of range, an unknown name, or a value of another type. */
export class ArgumentError extends KvmAccelError {
  override readonly name = 'ArgumentError'
  declare readonly code: 'ERR_ARGUMENT'
  /** The argument: `port`, `length`, `general.rip`. */
  readonly argument: string

  constructor(message: string, details: ErrorDetails & { readonly argument: string }) {
    super('ERR_ARGUMENT', message, details)
    this.argument = details.argument
  }
}

/**
 * Creates the error for an argument that a call does not accept.
 *
 * @param expected Completes "expected …".
 */
export function invalidArgument(argument: string, value: unknown, expected: string, remedy?: string): ArgumentError {
  const shown = typeof value === 'string' ? `'${value}'` : typeof value === 'object' ? typeof value : String(value)
  return new ArgumentError(`invalid ${argument} ${shown}: expected ${expected}`, { argument, remedy })
}

/**
 * Checks that a number is a whole number in a range.
 *
 * @throws {@linkcode ArgumentError}
 */
export function checkWhole(argument: string, value: unknown, low: number, high: number, unit = ''): void {
  if (typeof value === 'number' && Number.isInteger(value) && value >= low && value <= high) return
  const what = unit === '' ? 'a whole number' : `a whole number of ${unit}`
  throw invalidArgument(argument, value, `${what} from ${low} to ${high}`)
}

/**
 * Checks that a vCPU exists.
 *
 * @throws {@linkcode ArgumentError}
 */
export function checkVcpu(vcpu: number, cpus: number): void {
  if (Number.isInteger(vcpu) && vcpu >= 0 && vcpu < cpus) return
  throw invalidArgument('vcpu', vcpu, `a number from 0 to ${cpus - 1}`)
}
