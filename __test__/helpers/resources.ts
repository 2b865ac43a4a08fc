import { readdirSync } from 'node:fs'

/** Open file descriptors of this process (the one that lists them is not counted). */
export const fds = (): number => readdirSync('/proc/self/fd').length - 1

/** Threads of this process. */
export const threads = (): number => readdirSync('/proc/self/task').length
