import { constants, openSync, statSync } from 'node:fs'
import { dirname } from 'node:path'

/** The bit of a directory's mode that lets every user write to it. */
const OTHERS_WRITE = 0o002

/**
 * Opens a file for writing, or creates it with access for this user only. Does not wait for the
 * reader of a FIFO. In a directory that every user may write, such as /tmp, it refuses a symbolic
 * link: another user may have created it.
 *
 * @throws The error of `fs.openSync`.
 */
export function createFile(path: string, flags = 0): number {
  const { O_WRONLY, O_CREAT, O_NONBLOCK, O_NOCTTY, O_NOFOLLOW } = constants
  const shared = (statSync(dirname(path), { throwIfNoEntry: false })?.mode ?? 0) & OTHERS_WRITE
  const own = O_WRONLY | O_CREAT | O_NONBLOCK | O_NOCTTY | (shared ? O_NOFOLLOW : 0)
  try {
    return openSync(path, own | flags, 0o600)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ELOOP') throw error
    throw new Error('it is a symbolic link in a directory that every user may write', { cause: error })
  }
}
