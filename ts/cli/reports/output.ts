import { closeSync, constants, fstatSync, openSync, writeSync } from 'node:fs'
import { OptionError } from '../../errors/options/option-error.js'
import { createFile } from '../create-file.js'
import { printWarning } from '../messages.js'

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
    return new FileOutput(option, path, openFile(path))
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    const remedy = 'Use a path in a directory that is writable for this user.'
    throw new OptionError(`${option} cannot write '${path}': ${why}`, { option, remedy, cause })
  }
}

/** A file. Text that it does not take is counted: a full disk must not end the machine. */
class FileOutput implements Output {
  readonly #subject: string
  readonly #file: number
  /** Bytes that are lost. */
  #lost = 0

  constructor(option: string, path: string, file: number) {
    this.#subject = `${option} cannot write '${path}'`
    this.#file = file
  }

  readonly write = (text: string): void => {
    let rest = Buffer.from(text)
    try {
      while (rest.length > 0) rest = rest.subarray(writeSync(this.#file, rest))
    } catch (error) {
      if (this.#lost === 0) printWarning(`${this.#subject}: ${(error as Error).message}. Records are lost.`)
      this.#lost += rest.length
    }
  };

  [Symbol.dispose](): void {
    closeSync(this.#file)
    if (this.#lost > 0) printWarning(`${this.#subject}: ${this.#lost} bytes are lost`)
  }
}

/**
 * Opens or creates a file without waiting: a FIFO without a reader is an error. Writing waits for
 * the reader of a FIFO.
 */
function openFile(path: string): number {
  const { O_WRONLY, O_TRUNC, O_NOCTTY } = constants
  const file = createFile(path, O_TRUNC)
  if (fstatSync(file).isFile()) return file
  try {
    // Opens the same file again in blocking mode.
    return openSync(`/proc/self/fd/${file}`, O_WRONLY | O_NOCTTY)
  } finally {
    closeSync(file)
  }
}
