// A lock between processes: a file that names its owner. A lock whose owner has ended is taken over.

import { linkSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'

/** Milliseconds between two attempts. */
const INTERVAL = 100

/**
 * Milliseconds. A lock for the removal of locks is held for microseconds. An older one belongs to a
 * process that was killed.
 */
const RECOVERY = 10_000

const sleep = milliseconds => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds)

/**
 * Returns the start time of a process, in clock ticks since boot. It distinguishes the process from
 * a later one with the same id.
 */
const startTime = pid => {
  try {
    // The name in parentheses may contain spaces. The start time is field 22, the 20th after it.
    return (
      readFileSync(`/proc/${pid}/stat`, 'utf8')
        .replace(/^.*\) /s, '')
        .split(' ')[19] ?? ''
    )
  } catch {
    return ''
  }
}

/** Returns the process id in a lock's text if that process still runs. */
const liveOwner = text => {
  const [pid = '', started = ''] = text.split(' ')
  if (!/^[1-9]\d*$/.test(pid)) return undefined
  try {
    process.kill(Number(pid), 0)
  } catch (error) {
    if (error.code === 'ESRCH') return undefined
  }
  return startTime(pid) === started ? Number(pid) : undefined
}

const read = file => {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return undefined
  }
}

/** Creates `file` with its contents in one step. Returns false if it exists. */
const create = file => {
  const own = `${file}.${process.pid}`
  writeFileSync(own, `${process.pid} ${startTime(process.pid)}`)
  try {
    linkSync(own, file)
    return true
  } catch (error) {
    if (error.code !== 'EEXIST') throw error
    return false
  } finally {
    rmSync(own, { force: true })
  }
}

/**
 * Removes a lock whose owner has ended. Requires a second lock, so that no process removes the lock
 * of a new owner.
 */
const recover = file => {
  const guard = `${file}.recovery`
  if (!create(guard)) {
    const age = Date.now() - (statSync(guard, { throwIfNoEntry: false })?.mtimeMs ?? Date.now())
    if (age > RECOVERY) rmSync(guard, { force: true })
    return
  }
  try {
    const text = read(file)
    if (text !== undefined && liveOwner(text) === undefined) rmSync(file, { force: true })
  } finally {
    rmSync(guard, { force: true })
  }
}

/** Files that this process has locked, with the number of nested calls. */
const held = new Map()

/**
 * Calls `work` while this process holds the lock. Nested calls do not wait. A process that ends
 * releases its locks.
 *
 * @template T
 * @param {string} file
 * @param {{ readonly patience: number, readonly onWait?: (pid: number) => void }} options
 * `patience`: the maximum wait in milliseconds. `onWait` is called once if another process holds
 * the lock.
 * @param {() => T} work
 * @returns {T}
 */
export const withLock = (file, { patience, onWait = () => {} }, work) => {
  const depth = held.get(file) ?? 0
  if (depth === 0) {
    mkdirSync(dirname(file), { recursive: true })
    const end = Date.now() + patience
    let waits = false
    while (!create(file)) {
      const text = read(file)
      const owner = text === undefined ? undefined : liveOwner(text)
      if (owner !== undefined) {
        if (!waits) onWait(owner)
        waits = true
        if (Date.now() > end)
          throw new Error(`process ${owner} has held ${file} for more than ${patience / 1000} seconds`)
        sleep(INTERVAL)
      } else if (text !== undefined) {
        recover(file)
        sleep(1)
      }
    }
    if (held.size === 0) process.once('exit', release)
  }
  held.set(file, depth + 1)
  try {
    return work()
  } finally {
    if (depth === 0) {
      held.delete(file)
      rmSync(file, { force: true })
      if (held.size === 0) process.off('exit', release)
    } else held.set(file, depth)
  }
}

/**
 * Releases all locks when the process exits: `process.exit()` inside `work` does not run `finally`.
 */
const release = () => {
  for (const file of held.keys()) rmSync(file, { force: true })
}
