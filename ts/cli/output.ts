import { closeSync, openSync, writeSync } from 'node:fs'
import { OptionError } from '../errors/option-error.js'

/** Where an option's report goes. */
export interface Output extends Disposable {
  readonly write: (text: string) => void
}

/**
 * A file, truncated, or standard error.
 *
 * @param option The option that asked for it.
 * @throws {@link OptionError} when the file cannot be written.
 */
export function openOutput(option: string, path: string | null): Output {
  if (path === null) return { write: text => void process.stderr.write(text), [Symbol.dispose]: () => {} }
  try {
    const file = openSync(path, 'w')
    return { write: text => void writeSync(file, text), [Symbol.dispose]: () => closeSync(file) }
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    const remedy = 'Name a file in a directory that this user may write to.'
    throw new OptionError(`${option} cannot write '${path}': ${why}`, { option, remedy, cause })
  }
}
