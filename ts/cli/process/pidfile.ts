import {
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  lstatSync,
  openSync,
  readFileSync,
  unlinkSync,
  writeSync,
} from 'node:fs'
import { OptionError } from '../../errors/options/option-error.js'

/**
 * Writes this process's id to a file, as `-pidfile` does.
 *
 * QEMU removes whatever is at that path when it ends, `/dev/null` included. Here only a regular file is written, and only
 * one that still holds our id is removed.
 *
 * @returns What removes the file.
 * @throws {@link OptionError} when the file cannot be written, or is none.
 */
export function writePidfile(path: string): () => void {
  const text = `${process.pid}\n`
  try {
    // Not truncated by the open: what is there is looked at first. Non-blocking, so that a FIFO does not hang.
    const file = openSync(path, constants.O_WRONLY | constants.O_CREAT | constants.O_NONBLOCK, 0o600)
    try {
      if (!fstatSync(file).isFile()) throw new Error('it is not a regular file')
      ftruncateSync(file)
      writeSync(file, text)
    } finally {
      closeSync(file)
    }
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    const remedy = 'Name a file in a directory that this user may write to.'
    throw new OptionError(`-pidfile cannot write '${path}': ${why}`, { option: '-pidfile', remedy, cause })
  }
  return () => {
    try {
      if (lstatSync(path).isFile() && readFileSync(path, 'utf8') === text) unlinkSync(path)
    } catch {
      // Someone else has removed it.
    }
  }
}
