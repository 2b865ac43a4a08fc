// The second host, a stock kernel with kvm-amd in QEMU's emulator: how a command is run there. `.ci/run` names the script.

import { mkdirSync } from 'node:fs'
import { run, type Finished } from './spawn.js'

/** For one boot; the emulator is slow, and slower beside other tests. */
export const seconds = 2700

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

/** A script that runs `command` with each of `words`, and again with one that failed: `twice` says why. */
export const inTurn = (command: string, words: readonly string[]): string =>
  [
    'failed=0',
    ...words.map(word => `${command} '${word}' || { echo 'AGAIN ${word}'; ${command} '${word}' || failed=1; }`),
    'exit $failed',
  ].join('\n')

/** What was tried twice and what had failed, of what the second host printed. */
export const secondTries = (output: string): string[] =>
  output.includes('AGAIN ') ? output.split('\n').filter(line => /^AGAIN |✘|panicked|FAILED/.test(line)) : []

/**
 * One processor: with two the host now and then hangs or panics, most likely because QEMU's emulator runs what it had translated of code
 * that Linux is patching (a static key, such as KVM's for the first VM).
 */
const machine = ['-smp', '1']

/** Boots of a host that panics. Where this one is busy the timer comes too late for Linux, before it has started anything. */
const starts = 4

/** What the script says then, and not when time was up. */
const panicked = /did not end \(status 0 /

/** Runs a command on the second host, which leaves files in `out`. */
export const inside = async (flags: readonly string[], command: readonly string[], out: string): Promise<Finished> => {
  mkdirSync(out, { recursive: true })
  const script = process.env['KVM_ACCEL_SVM_HOST'] ?? ''
  const args = [...machine, ...flags, '-t', String(seconds), '--', ...command]
  let again = ''
  for (let left = starts - 1; ; left--) {
    const finished = await run(script, args, { env: { OUT: out }, limit: seconds + 60 })
    if (left === 0 || !panicked.test(finished.stderr)) return { ...finished, stdout: again + finished.stdout }
    again += `AGAIN the host: ${finished.stdout.slice(-500).replaceAll('\n', ' ')}\n`
  }
}
