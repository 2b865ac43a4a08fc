import { readdirSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

/** Open file descriptors of this process (the one that lists them is not counted). */
export const fds = (): number => readdirSync('/proc/self/fd').length - 1

/** Threads of this process. */
export const threads = (): number => readdirSync('/proc/self/task').length

/** Whether it becomes true within seconds: a thread that was joined is listed until the kernel has let go of it. */
export const soon = async (what: () => boolean): Promise<boolean> => {
  for (let left = 250; left > 0 && !what(); left--) await sleep(20)
  return what()
}
