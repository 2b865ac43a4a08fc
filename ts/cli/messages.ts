import { KvmAccelError } from '../errors/kvm-accel-error.js'

/**
 * Writes `kvm-accel: error: …` and the indented remedy to stderr. An error of another class is an
 * internal error, and is written with its stack.
 */
export function printError(error: unknown): void {
  if (!(error instanceof KvmAccelError)) {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
    process.stderr.write(`kvm-accel: internal error: ${text}\n`)
    return
  }
  process.stderr.write(`kvm-accel: error: ${error.message}\n`)
  if (error.remedy !== undefined) process.stderr.write(`  ${error.remedy}\n`)
}

/** Writes `kvm-accel: warning: …` to stderr. */
export function printWarning(message: string): void {
  process.stderr.write(`kvm-accel: warning: ${message}\n`)
}
