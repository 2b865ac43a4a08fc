// Tests real notify exits, from the guest to JavaScript, on the second host's kernel with the
// notify capability. All tests share one boot.

import type { ExecutionContext } from 'ava'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { preload, qemu, requires, svmHost } from '../helpers/requires.js'
import { passes, patience } from '../helpers/second-host.js'
import { cases, windows, type SvmReport } from '../helpers/svm-notify.js'

let booted: Promise<SvmReport> | undefined

/** The results of all machines of `cases`, from one boot that the first test starts. */
const notifyHost = (t: ExecutionContext): Promise<SvmReport> => {
  const boot = async (): Promise<SvmReport> => {
    const command = [process.execPath, '--import=tsx', '__test__/helpers/svm-notify.ts', 'run']
    const { out } = await passes(t, ['-notify'], command, 'notify')
    return JSON.parse(readFileSync(join(out, 'report.json'), 'utf8')) as SvmReport
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
  // The other vCPU may be about to end in the same way.
  'two vCPUs, internal-error': { outcome: 'internal-error', reason: 'internal-error', exits: undefined },
  'ten thousand in a row': { outcome: 'ended', reason: 'guest-reset', exits: 10000 },
} as const

for (const name of Object.keys(cases) as (keyof typeof cases)[]) {
  const expected = outcomes[name]

  real(`real notify exits, ${name}: kvm-accel and QEMU have the same outcome`, async t => {
    t.timeout(patience)
    const report = await notifyHost(t)
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

  real(`real notify exits, ${name}: the totals of stats() equal the kernel's notify_window_exits`, async t => {
    t.timeout(patience)
    const api = (await notifyHost(t)).machines[name]?.api
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

real('the event of a real notify exit has the guest’s registers', async t => {
  t.timeout(patience)
  const { machines } = await notifyHost(t)
  const one = machines['run, valid']?.api.first
  t.like(one, { vcpu: 0, contextInvalid: false, resumed: true, total: 1, injected: false })
  t.like(machines['run, invalid']?.api.first, { contextInvalid: true, resumed: false })
  t.regex(one?.rip ?? '', /^10[\da-f]{4}$/)
})

for (const window of windows) {
  real(`the kernel accepts window ${window} from kvm-accel and QEMU`, async t => {
    t.timeout(patience)
    const report = await notifyHost(t)
    const machine = report.windows[window]
    if (!machine) return t.fail('not run')
    const enable = `0x${((BigInt(window) << 32n) | 3n).toString(16)}`
    t.deepEqual([machine.qemu.enable, machine.cli.enable], [enable, enable])
    t.deepEqual([machine.qemu.outcome, machine.cli.outcome], ['ended', 'ended'])
  })
}
