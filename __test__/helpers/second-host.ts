// The second host: how a command is run there.

import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { run, type Finished } from './spawn.js'

/** For one boot; the emulator is slow, and slower beside other tests. */
export const seconds = 1800

/** Milliseconds, for the test that starts it. */
export const patience = (seconds + 240) * 1000

/**
 * On the second host: `work`, and once more when it hung. In this emulator a guest stops making progress now and then, one in some
 * thousands, QEMU's as well; why is not known. What hangs more often hangs twice.
 */
export const twice = async <T>(name: string, work: () => Promise<T>, hung: (result: T) => boolean): Promise<T> => {
  const first = await work()
  if (!hung(first)) return first
  console.log(`\nAGAIN ${name}`)
  return work()
}

/** What was tried twice, of what the second host printed. */
export const secondTries = (output: string): string[] => output.split('\n').filter(line => line.startsWith('AGAIN '))

/** Starts of the host. Where this one is busy its timer comes too late for Linux, which then panics before it has started anything. */
const starts = 4

/** Runs a command on the second host, which leaves files in `out`. */
export const inside = async (flags: readonly string[], command: readonly string[], out: string): Promise<Finished> => {
  mkdirSync(out, { recursive: true })
  const script = process.env['KVM_ACCEL_SVM_HOST'] ?? ''
  const beside = [process.execPath, '__test__/helpers/beside-a-vm.mjs']
  const args = [...flags, '-t', String(seconds), '--', ...beside, ...command]
  for (let left = starts - 1; ; left--) {
    const finished = await run(script, args, { env: { OUT: out }, limit: seconds + 60 })
    if (left === 0 || existsSync(join(out, 'started'))) return finished
  }
}
