// The second host: a stock kernel with kvm-amd in QEMU's emulator, and the same with the notify capability, where notify exits
// are real from the guest to JavaScript. Each boot is slow, so one boot answers many tests. `.ci/run` names the script.

import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { kvm, preload, qemu, requires, svmHost } from '../helpers/requires.js'
import { root, scratch } from '../helpers/paths.js'
import { inside, patience, secondTries, seconds } from '../helpers/second-host.js'
import { run } from '../helpers/spawn.js'
import { cases, windows, type SvmReport } from '../helpers/svm-notify.js'

interface Boot {
  readonly report: SvmReport
  /** What hung there, and was run again. */
  readonly again: readonly string[]
}

let booted: Promise<Boot> | undefined

/** What all machines of `cases` did there, in one boot. */
const notifyHost = (): Promise<Boot> => {
  const boot = async (): Promise<Boot> => {
    const out = join(scratch(), 'svm-notify')
    const command = [process.execPath, '--import=tsx', '__test__/helpers/svm-notify.ts', 'run']
    const { status, stdout, stderr } = await inside(['-notify'], command, out)
    if (status !== 0) throw new Error(`Status ${status}: ${stdout}${stderr}`)
    const report = JSON.parse(readFileSync(join(out, 'report.json'), 'utf8')) as SvmReport
    return { report, again: secondTries(stdout) }
  }
  booted ??= boot()
  return booted
}

const real = requires(svmHost, preload, qemu)

const outcomes = {
  'run, valid': { outcome: 'ended', reason: 'guest-reset', exits: 1 },
  'run, invalid': { outcome: 'internal-error', reason: 'internal-error', exits: 1 },
  'internal-error, valid': { outcome: 'internal-error', reason: 'internal-error', exits: 1 },
  'internal-error, invalid': { outcome: 'internal-error', reason: 'internal-error', exits: 1 },
  'disable, valid': { outcome: 'ended', reason: 'guest-reset', exits: 0 },
  'disable, invalid': { outcome: 'ended', reason: 'guest-reset', exits: 0 },
  'two vCPUs, run': { outcome: 'ended', reason: 'guest-reset', exits: 200 },
  // The other vCPU may be on its way to the same end.
  'two vCPUs, internal-error': { outcome: 'internal-error', reason: 'internal-error', exits: undefined },
  'ten thousand in a row': { outcome: 'ended', reason: 'guest-reset', exits: 10000 },
} as const

for (const name of Object.keys(cases) as (keyof typeof cases)[]) {
  const expected = outcomes[name]

  real(`Real notify exits, ${name}: kvm-accel and QEMU do the same`, async t => {
    t.timeout(patience)
    const { report, again } = await notifyHost()
    t.log(...again.filter(one => one.endsWith(name)))
    const machine = report.machines[name]
    if (!machine) return t.fail('not run')
    const { api, cli, qemu: theirs } = machine
    const warned = expected.exits === 0 ? 0 : 1
    const enable = cases[name].policy === 'disable' ? 'none' : '0x3'
    t.is(theirs.outcome, expected.outcome, theirs.stderr)
    t.is(cli.outcome, expected.outcome, cli.stderr)
    t.is(api.reason, expected.reason, api.detail)
    t.deepEqual([theirs.enable, cli.enable], [enable, enable])
    t.is(cli.warnings, warned, cli.stderr)
    if (cases[name].cpus > 1) {
      // QEMU's "once" is not atomic: two vCPUs at once may both report.
      t.true(theirs.warnings >= warned, theirs.stderr)
      return
    }
    t.is(theirs.warnings, warned, theirs.stderr)
    t.is(cli.output, theirs.output)
    t.is(api.output, theirs.output)
  })

  real(`Real notify exits, ${name}: our totals are the kernel's notify_window_exits`, async t => {
    t.timeout(patience)
    const api = (await notifyHost()).report.machines[name]?.api
    if (!api) return t.fail('not run')
    t.is(api.status.total, api.kernel)
    t.is(api.exits, api.kernel)
    t.is(api.statistics, api.kernel)
    t.is(
      api.vcpus.reduce((sum, one) => sum + one, 0),
      api.kernel,
    )
    if (expected.exits !== undefined) t.is(api.status.total, expected.exits)
    t.deepEqual(api.status, { supported: true, enabled: cases[name].policy !== 'disable', total: api.status.total })
  })
}

real('Real notify exits tell where the guest is', async t => {
  t.timeout(patience)
  const { machines } = (await notifyHost()).report
  const one = machines['run, valid']?.api.first
  t.like(one, { vcpu: 0, contextInvalid: false, resumed: true, total: 1, injected: false })
  t.like(machines['run, invalid']?.api.first, { contextInvalid: true, resumed: false })
  t.regex(one?.rip ?? '', /^10[\da-f]{4}$/)
})

for (const window of windows) {
  real(`The kernel takes window ${window} from both`, async t => {
    t.timeout(patience)
    const { report, again } = await notifyHost()
    t.log(...again.filter(one => one.endsWith(`window ${window}`)))
    const machine = report.windows[window]
    if (!machine) return t.fail('not run')
    const enable = `0x${((BigInt(window) << 32n) | 3n).toString(16)}`
    t.deepEqual([machine.qemu.enable, machine.cli.enable], [enable, enable])
    t.deepEqual([machine.qemu.outcome, machine.cli.outcome], ['ended', 'ended'])
  })
}

const stock = requires(svmHost, kvm)

/** A script that runs `command` with each of `words`, and again with one that failed: `twice` says why. */
const inTurn = (command: string, words: readonly string[]): string =>
  [
    'failed=0',
    ...words.map(word => `${command} '${word}' || { echo 'AGAIN ${word}'; ${command} '${word}' || failed=1; }`),
    'exit $failed',
  ].join('\n')

stock('The KVM tests pass on a stock kernel with kvm-amd', async t => {
  t.timeout(patience)
  // Not about the host, and too much for an emulator: hundreds of processes that fail on purpose or by what the interposer answers,
  // example programs, packing, terminals and sockets of this process. passt follows the host's default route, and there is none.
  const elsewhere = [
    'debian',
    'examples',
    'fault',
    'host-limits',
    'install',
    'passt',
    'serial-socket',
    'svm-host',
    'terminal',
  ]
  const files = readdirSync(join(root, '__test__/kvm'))
    .filter(name => name.endsWith('.test.ts') && !elsewhere.includes(name.slice(0, -'.test.ts'.length)))
    .map(name => `__test__/kvm/${name}`)
  const script = `echo 16 > /proc/sys/vm/nr_hugepages\n${inTurn('node_modules/.bin/ava --timeout=5m --serial', files)}`
  const { status, stdout, stderr } = await inside([], ['sh', '-c', script], join(scratch(), 'svm-stock'))
  t.log(...secondTries(stdout))
  t.is(status, 0, `${stdout}${stderr}`)
})

/** Rust test programs that need no device, or try so many inputs that an emulator takes minutes. */
const hostless = ['bad_images', 'bus', 'fuzz', 'headers', 'layout', 'serial']

/** The Rust test programs that run guests, built as `npm test` builds them. */
const rustTests = async (): Promise<string[]> => {
  const build = ['test', '--workspace', '--no-run', '--message-format', 'json']
  const { status, stdout, stderr } = await run('cargo', build, { limit: seconds })
  if (status !== 0) throw new Error(stderr)
  const built = stdout
    .split('\n')
    .filter(line => line.startsWith('{'))
    .map(line => JSON.parse(line) as { executable?: string | null; target?: { name: string; kind: string[] } })
  return built.flatMap(({ executable, target }) =>
    executable && target?.kind[0] === 'test' && !hostless.includes(target.name) ? [executable] : [],
  )
}

stock('The Rust tests that run guests pass on a stock kernel with kvm-amd', async t => {
  t.timeout(2 * patience)
  const programs = await rustTests()
  t.true(programs.length > 0)
  const script = inTurn('env RUST_BACKTRACE=1', programs)
  const { status, stdout, stderr } = await inside([], ['sh', '-c', script], join(scratch(), 'svm-rust'))
  t.log(...secondTries(stdout))
  t.is(status, 0, `${stdout}${stderr}`)
})
