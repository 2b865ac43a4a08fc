// Shared by the tests of `__test__/svm`.

import type { ExecutionContext } from 'ava'
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { root, scratch } from './paths.js'
import { kvm, requires, svmHost } from './requires.js'
import { RESTARTS, inside, seconds } from './second-host.mjs'

/**
 * Milliseconds for a test that starts the second host. A host that fails by its own fault is
 * restarted.
 */
export const patience = (1 + RESTARTS) * (seconds + 60) * 1000

/**
 * Returns a shell script that runs `command` with each of `words`, and fails if one of the commands
 * failed.
 */
export const inTurn = (command: string, words: readonly string[]): string =>
  [
    'failed=0',
    ...words.map(
      word => `start=$(date +%s); ${command} '${word}' || failed=1; echo "TIME $(($(date +%s) - start)) ${word}"`,
    ),
    'exit $failed',
  ].join('\n')

/** The KVM tests that do not run on the second host. */
const elsewhere = [
  // These tests do not depend on the host, and are too slow in an emulator: hundreds of processes
  // that fail on purpose or by the interposer's answers, example programs, code blocks of
  // documents, packing, terminals and sockets of this process.
  ...['documents', 'examples', 'fault', 'host-limits', 'install', 'serial-socket', 'terminal'],
  // Tests with the interposer's notify exits. `notify.test.ts` in `__test__/svm` tests real ones on
  // this host.
  'notify',
  // passt follows the host's default route, and the second host has none.
  ...['passt', 'tutorial'],
  // npm installs other versions of Node.js and TypeScript, and the second host has no network.
  'versions',
  // Tests with hundreds of machines, or with times, which are meaningless in an emulator.
  ...['abort', 'event-loop'],
]

/** The measured seconds of each file. A new file has no entry. */
const secondsFile = join(root, '__test__/svm/seconds.json')
const measured = JSON.parse(readFileSync(secondsFile, 'utf8')) as Record<string, number>

/**
 * Divides the KVM tests into `count` parts of about the same duration. Assigns each file, longest
 * first, to the part that is shortest so far.
 */
export const parts = (files: readonly string[], count: number, cost: (file: string) => number): string[][] => {
  const all = Array.from({ length: count }, () => ({ seconds: 0, files: [] as string[] }))
  for (const file of files.toSorted((a, b) => cost(b) - cost(a) || a.localeCompare(b))) {
    const shortest = all.reduce((least, one) => (one.seconds < least.seconds ? one : least))
    shortest.files.push(file)
    shortest.seconds += cost(file)
  }
  return all.map(part => part.files)
}

/** Defines the test that runs one part of the KVM tests on the second host. */
export const kvmTests = (part: number, count: number): void => {
  const test = requires(svmHost, kvm)

  test(`the KVM tests pass on a stock kernel with kvm-amd, part ${part} of ${count}`, async t => {
    t.timeout(patience)
    const files = readdirSync(join(root, '__test__/kvm')).filter(
      name => name.endsWith('.test.ts') && !elsewhere.includes(name.slice(0, -'.test.ts'.length)),
    )
    const mine = parts(files, count, file => measured[file] ?? 20)[part - 1] ?? []
    // One process runs all files: on the second host, the start of a test process takes longer than
    // most tests.
    const folder = join(root, 'target/kvm-accel/second-host')
    mkdirSync(folder, { recursive: true })
    const file = join(folder, `part-${part}.ts`)
    const path = (name: string): string => relative(folder, join(root, '__test__/kvm', name))
    writeFileSync(file, mine.map(name => `import '${path(name).replace(/\.ts$/, '.js')}'\n`).join(''))
    const ava = ['node_modules/.bin/ava', '--config', 'ava.second-host.config.mjs', relative(root, file)]
    // Few random sequences and pauses, because the first host runs many.
    const counts = 'KVM_ACCEL_TEST_RUNS=3 KVM_ACCEL_TEST_PAUSES=8'
    const script = `echo 16 > /proc/sys/vm/nr_hugepages; ${counts} KVM_ACCEL_TIMES=1 exec "$@"`
    const { stdout } = await passes(t, [], ['sh', '-c', script, 'sh', ...ava], `kvm-${part}`)
    if (process.env['UPDATE_SECONDS']) measure(stdout)
  })
}

/** Writes the times that the tests printed into the table. */
const measure = (stdout: string): void => {
  const sums = new Map<string, number>()
  for (const [, time, file = ''] of stdout.matchAll(/^TIME (\d+) (\S+\.test\.ts)\r?$/gm))
    sums.set(file, (sums.get(file) ?? 0) + Number(time) / 1000)
  // Reads the table again, because another part may have been measured meanwhile.
  const table = { ...(JSON.parse(readFileSync(secondsFile, 'utf8')) as Record<string, number>) }
  for (const [file, sum] of sums) table[file] = Math.ceil(sum)
  const sorted = Object.fromEntries(Object.entries(table).toSorted(([a], [b]) => a.localeCompare(b)))
  writeFileSync(secondsFile, `${JSON.stringify(sorted, null, 2)}\n`)
}

/**
 * Runs a command on the second host and asserts that it succeeds. Returns its output. `name` is the
 * folder of the files that it leaves.
 */
export const passes = async (
  t: ExecutionContext,
  flags: readonly string[],
  command: readonly string[],
  name: string,
): Promise<{ readonly out: string; readonly stdout: string }> => {
  const out = join(scratch(), name)
  const start = performance.now()
  const { status, stdout, stderr, restarted } = await inside(flags, command, out)
  for (const reason of restarted) t.log(`RESTARTED: ${reason}`)
  t.log(
    ...stdout.split('\n').filter(line => /^TIME (?!.*\.test\.ts)/.test(line)),
    `${Math.round((performance.now() - start) / 1000)} s`,
  )
  t.is(status, 0, `${stdout}${stderr}`)
  return { out, stdout }
}
