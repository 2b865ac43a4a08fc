// Options of a machine's run and of its end.

import type { OptionsOf } from '../../schema/entry.js'
import { build } from '../../schema/build.js'
import { conflict } from '../../schema/invalid.js'
import { boolean, integer, text } from '../../schema/scalars.js'
import { matchesNothing } from '../../trace/glob.js'

export const runMembers = {
  /**
   * Ends the machine when the guest resets it.
   *
   * @default false
   */
  noReboot: boolean({ default: false, cli: '-no-reboot' }),
  /**
   * Stops the machine in run state `shutdown` when the guest shuts down, instead of ending it.
   *
   * @default false
   */
  noShutdown: boolean({ default: false, cli: '-no-shutdown' }),
  /**
   * The trace events to record from the first ioctl on, as globs such as `'kvm_*'`.
   * {@link Machine.startTrace} returns the records.
   *
   * @default none
   */
  trace: build<string | readonly string[], readonly string[], readonly []>(
    {
      takes: "a glob of trace events such as 'kvm_*', or a list of globs",
      read: (value, path) => {
        const globs = [value].flat()
        if (!globs.every(glob => typeof glob === 'string')) return undefined
        for (const glob of globs) {
          const problem = matchesNothing(glob)
          if (problem === undefined) continue
          throw conflict(path, `the glob matches no event: ${problem}`, 'docs/reference/trace.md lists the events.')
        }
        return globs
      },
      write: globs => globs,
    },
    { default: [], cli: '-trace' },
  ),
  /**
   * The maximum number of events that wait for this program, 16 to 65536. It counts events that a
   * guest can cause without end: notify exits, bus locks, warnings and resets by the guest. Each
   * needs up to 2 KiB of memory. Further ones are dropped, and the next notify event or bus lock
   * carries their number. Events that stop or end the machine are never dropped.
   *
   * @default 1024
   */
  maxQueuedEvents: integer({ min: 16, max: 65_536, default: 1024 }),
  /**
   * An `AbortSignal` that ends the machine, as {@link Machine.stop} does.
   *
   * @default none
   */
  signal: build<AbortSignal, AbortSignal, null>(
    {
      takes: 'an AbortSignal',
      read: value => (value instanceof AbortSignal ? value : undefined),
      write: signal => signal,
    },
    { default: null },
  ),
  /**
   * A name for messages and threads.
   *
   * @default none
   */
  name: text({ default: null, cli: '-name' }),
}

/** Options of a machine's run and of its end. */
export interface RunOptions extends OptionsOf<typeof runMembers> {}
