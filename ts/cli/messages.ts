import { closeSync, constants, openSync, writeSync } from 'node:fs'
import { KvmAccelError } from '../errors/kvm-accel-error.js'

/** The time for which a message waits for a terminal, in ms. */
const PATIENCE = 200

/** The time before the next attempt, in ms. */
const AGAIN = 5

/**
 * Writes to standard error. Waits only for a limited time for a terminal that takes nothing, because
 * no program reads it or the user has stopped it (Ctrl-S): signals must still end the process.
 */
export function writeText(text: string): void {
  if (!process.stderr.isTTY) {
    process.stderr.write(text)
    return
  }
  const { O_WRONLY, O_NONBLOCK, O_NOCTTY } = constants
  // Another open file description: the terminal's mode for other processes stays unchanged.
  const file = openSync('/proc/self/fd/2', O_WRONLY | O_NONBLOCK | O_NOCTTY)
  try {
    let rest = Buffer.from(text)
    for (const end = performance.now() + PATIENCE; rest.length > 0 && performance.now() < end;) {
      const count = writeSome(file, rest)
      if (count === 0) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, AGAIN)
      rest = rest.subarray(count)
    }
  } finally {
    closeSync(file)
  }
}

/** Returns the number of bytes that the terminal has taken. */
function writeSome(file: number, bytes: Buffer): number {
  try {
    return writeSync(file, bytes)
  } catch {
    // It is full, or gone.
    return 0
  }
}

/**
 * Writes `kvm-accel: error: …` and the indented remedy to stderr. An error of another class is an
 * internal error, and is written with its stack.
 */
export function printError(error: unknown): void {
  if (!(error instanceof KvmAccelError)) {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
    writeText(`kvm-accel: internal error: ${text}\n`)
    return
  }
  writeText(`kvm-accel: error: ${error.message}\n`)
  if (error.remedy !== undefined) writeText(`  ${error.remedy}\n`)
}

/** Writes `kvm-accel: warning: …` to stderr. */
export function printWarning(message: string): void {
  writeText(`kvm-accel: warning: ${message}\n`)
}
