// The open descriptors and the threads of this process, for tests that check for leaks. Plain
// JavaScript, because processes that are started often use it, too.

import { readFileSync, readdirSync, readlinkSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'

const attempt = read => {
  try {
    return [read()]
  } catch {
    // The descriptor was closed, or the thread ended, between listing and reading.
    return []
  }
}

/**
 * The targets of the descriptors, without the numbers of sockets, pipes and VMs. The descriptor
 * that lists the others is left out.
 */
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

/** Returns the targets of the open descriptors and the names of the threads. */
export const resources = () => ({ fds: fds(), threads: threads() })

/** Milliseconds. A last resort against a hang. */
const PATIENCE = 20_000

/** True if a VM or a thread of this package exists. */
const alive = ({ fds, threads }) =>
  threads.some(name => name.startsWith('kvm-')) ||
  fds.some(target => /^(\/dev\/kvm|anon_inode:kvm|\/memfd:kvm)/.test(target))

/**
 * Resolves with the resources of a process without machines. The first use of files has then
 * started all of libuv's threads, and the resources that earlier tests closed have been released.
 */
export const baseline = async () => {
  await stat('/')
  let last
  for (const end = Date.now() + PATIENCE; ; await sleep(50)) {
    const now = resources()
    // Node.js closes destroyed handles in one of its next turns.
    const still = JSON.stringify(now) === last
    if ((!alive(now) && still) || Date.now() > end) return now
    last = JSON.stringify(now)
  }
}

/**
 * Resolves with the resources as soon as they equal `before`, or with the current ones after a long
 * wait. The kernel and Node.js release some resources later: the kernel lists a joined thread for a
 * while, and Node.js closes a destroyed stream in its next turn.
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
