import { closeSync, constants, fstatSync, openSync, writeSync } from 'node:fs'
import { OptionError } from '../../errors/options/option-error.js'

/** The output of a report. */
export interface Output extends Disposable {
  readonly write: (text: string) => void
}

/**
 * Opens a file, which is truncated, or standard error.
 *
 * @param option The option that names the file.
 * @throws {@link OptionError} when the file cannot be written.
 */
export function openOutput(option: string, path: string | null): Output {
  if (path === null) return { write: text => void process.stderr.write(text), [Symbol.dispose]: () => {} }
  try {
    const file = openFile(path)
    return { write: text => void writeSync(file, text), [Symbol.dispose]: () => closeSync(file) }
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    const remedy = 'Use a path in a directory that is writable for this user.'
    throw new OptionError(`${option} cannot write '${path}': ${why}`, { option, remedy, cause })
  }
}

/**
 * Opens or creates a file without waiting: a FIFO without a reader is an error. Writing waits for
 * the reader of a FIFO.
 */
function openFile(path: string): number {
  const { O_WRONLY, O_CREAT, O_TRUNC, O_NONBLOCK, O_NOCTTY } = constants
  const file = openSync(path, O_WRONLY | O_CREAT | O_TRUNC | O_NONBLOCK | O_NOCTTY, 0o666)
  if (fstatSync(file).isFile()) return file
  try {
    // Opens the same file again in blocking mode.
    return openSync(`/proc/self/fd/${file}`, O_WRONLY | O_NOCTTY)
  } finally {
    closeSync(file)
  }
}
