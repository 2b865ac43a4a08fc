// What this process has open, for tests that nothing is left. Plain JavaScript, because processes that are started often use it, too.

import { readdirSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

/** Open descriptors (but for the one that lists them) and threads. */
export const resources = () => ({
  fds: readdirSync('/proc/self/fd').length - 1,
  threads: readdirSync('/proc/self/task').length,
})

/**
 * The resources once there are no more than `before`, or when that takes long: a machine's descriptors are closed beside the event loop,
 * libuv's threads come and go with the first file, and a thread that was joined is listed until the kernel has let go of it.
 *
 * @param {ReturnType<typeof resources>} before
 */
export const settled = async before => {
  for (let tries = 0; tries < 100; tries++) {
    const now = resources()
    if (now.fds <= before.fds && now.threads <= before.threads) return now
    await sleep(20)
  }
  return resources()
}
