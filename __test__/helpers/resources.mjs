// What this process has open, for tests that nothing is left. Plain JavaScript, because processes that are started often use it, too.

import { readFileSync, readdirSync, readlinkSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'

const attempt = read => {
  try {
    return [read()]
  } catch {
    // It was closed, or has ended, between listing and reading.
    return []
  }
}

/** What the descriptors refer to, without the numbers of sockets, pipes and VMs. The descriptor that lists the others is not in it. */
const fds = () =>
  readdirSync('/proc/self/fd')
    .flatMap(fd => attempt(() => readlinkSync(`/proc/self/fd/${fd}`).replace(/\d+/g, 'N')))
    .filter(target => target !== '/proc/N/fd')
    .sort()

/** The names of the threads. */
const threads = () =>
  readdirSync('/proc/self/task')
    .flatMap(task => attempt(() => readFileSync(`/proc/self/task/${task}/comm`, 'utf8').trimEnd()))
    .sort()

/** Open descriptors and threads. */
export const resources = () => ({ fds: fds(), threads: threads() })

/** Milliseconds: a last resort. */
const PATIENCE = 20_000

/** True if a VM or a thread of this package is left. */
const alive = ({ fds, threads }) =>
  threads.some(name => name.startsWith('kvm-')) ||
  fds.some(target => /^(\/dev\/kvm|anon_inode:kvm|\/memfd:kvm)/.test(target))

/**
 * The resources of a process without machines: libuv's threads have started, which the first use of files does for all of them, and
 * what earlier tests closed is gone.
 */
export const baseline = async () => {
  await stat('/')
  let last
  for (const end = Date.now() + PATIENCE; ; await sleep(50)) {
    const now = resources()
    // Node.js closes what it has destroyed in its next turns.
    const still = JSON.stringify(now) === last
    if ((!alive(now) && still) || Date.now() > end) return now
    last = JSON.stringify(now)
  }
}

/**
 * The resources as soon as they are exactly `before`, or those at the end of a long wait. A wait is needed for what the kernel and Node.js
 * do later: a joined thread is listed until the kernel has let go of it, and Node.js closes a destroyed stream in its next turn.
 *
 * @param {ReturnType<typeof resources>} before
 */
export const settled = async before => {
  const wanted = JSON.stringify(before)
  for (const end = Date.now() + PATIENCE; ; await sleep(5)) {
    const now = resources()
    if (JSON.stringify(now) === wanted || Date.now() > end) return now
  }
}
