import { closeSync, fstatSync, ftruncateSync, lstatSync, readFileSync, unlinkSync, writeSync } from 'node:fs'
import { createFile } from '../create-file.js'
import { OptionError } from '../../errors/options/option-error.js'

/**
 * Writes this process's id to a file, as `-pidfile` does.
 *
 * At its end QEMU removes any file at that path, `/dev/null` included. This function writes only a
 * regular file, and removes it only if it still has the id of this process.
 *
 * @returns A function that removes the file.
 * @throws {@link OptionError} when the file cannot be written, or is not a regular file.
 */
export function writePidfile(path: string): () => void {
  const text = `${process.pid}\n`
  try {
    // The open does not truncate, so that the type of the file is checked first.
    const file = createFile(path)
    try {
      if (!fstatSync(file).isFile()) throw new Error('not a regular file')
      ftruncateSync(file)
      writeSync(file, text)
    } finally {
      closeSync(file)
    }
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    const remedy = 'Use a path in a directory that is writable for this user.'
    throw new OptionError(`-pidfile cannot write '${path}': ${why}`, { option: '-pidfile', remedy, cause })
  }
  return () => {
    try {
      if (lstatSync(path).isFile() && readFileSync(path, 'utf8') === text) unlinkSync(path)
    } catch {
      // Another process has removed the file.
    }
  }
}
