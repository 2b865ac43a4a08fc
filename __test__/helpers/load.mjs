// How busy the host is, for bounds on times: a loop of this thread, and how long it waits for a processor.

import { readFileSync } from 'node:fs'

/** Nanoseconds for which this thread has run and has waited for a processor. */
const schedule = () => readFileSync('/proc/thread-self/schedstat', 'utf8').split(' ').map(Number)

/**
 * `look()` runs a loop of 4 ms and notes how long it had to wait; the process should have nothing else to do then. `factor()` is how much longer than on an idle host such loops
 * took so far.
 */
export const watchLoad = () => {
  const spent = { run: 0, waited: 0 }
  return {
    look: () => {
      const [run, waited] = schedule()
      const end = performance.now() + 4
      while (performance.now() < end);
      const [runAfter, waitedAfter] = schedule()
      spent.run += runAfter - run
      spent.waited += waitedAfter - waited
    },
    factor: () => 1 + spent.waited / Math.max(spent.run, 1),
  }
}

/** The value in the middle. */
export const median = values => values.toSorted((a, b) => a - b)[values.length >> 1]
