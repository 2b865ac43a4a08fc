// Measures the load of the host, for bounds on times: how long a loop of this thread waits for a
// processor.

import { readFileSync } from 'node:fs'

/**
 * Returns the nanoseconds for which this thread has run, and those for which it has waited for a
 * processor.
 */
const schedule = () => readFileSync('/proc/thread-self/schedstat', 'utf8').split(' ').map(Number)

/**
 * `look()` runs a loop of 4 ms and records how long it waited for a processor. The process should
 * be idle otherwise. `factor()` returns the ratio of the time of these loops to their time on an
 * idle host.
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

/** Returns the median (of an even number of values, the upper one). */
export const median = values => values.toSorted((a, b) => a - b)[values.length >> 1]
