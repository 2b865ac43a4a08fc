// Tests notify exits from the ioctl to JavaScript. The interposer simulates the hardware.

import { join } from 'node:path'
import { interpose } from '../helpers/interpose.js'
import type { NotifyCase, NotifyReport } from '../helpers/notify-run.js'
import { root } from '../helpers/paths.js'
import { kvm, preload, requires } from '../helpers/requires.js'
import { run } from '../helpers/spawn.js'

const COM1 = 0x3f8
const UNCLAIMED = 0x80

const text = 'string-io\nthe quick brown fox jumps over the lazy dog 0123456789\nstring-io: done\n'

const interposed = async (rules: string, one: NotifyCase): Promise<NotifyReport> => {
  const script = join(root, '__test__/helpers/notify-process.ts')
  const { env } = interpose(rules)
  const { status, stdout, stderr } = await run(process.execPath, ['--import=tsx', script, JSON.stringify(one)], { env })
  if (status !== 0) throw new Error(`Status ${status}: ${stderr}`)
  return JSON.parse(stdout) as NotifyReport
}

const notify = requires(kvm, preload)

notify('a notify exit emits its vCPU, address, registers and totals, and the guest continues', async t => {
  const rules = `cap219;notify:port=${COM1},after=20`
  const report = await interposed(rules, { accel: 'kvm', guest: 'string-io' })
  t.like(report, { reason: 'guest-reset', events: 1, dropped: 0, exits: 1, output: text, warnings: ['NOTIFY_EXIT'] })
  t.deepEqual(report.status, { supported: true, enabled: true, total: 1 })
  t.like(report.first, {
    vcpu: 0,
    contextInvalid: false,
    resumed: true,
    total: 1,
    injected: false,
    rdx: COM1.toString(16),
  })
  t.regex(report.first?.instruction ?? '', /^rep outsb/)
  t.regex(report.first?.rip ?? '', /^10[\da-f]{4}$/)
})

notify('an invalid context stops the machine under every policy, and the message names it', async t => {
  for (const policy of ['run', 'internal-error']) {
    const rules = `cap219;notify:port=${COM1},after=20,flags=1`
    const report = await interposed(rules, { accel: `kvm,notify-vmexit=${policy}`, guest: 'string-io' })
    t.like(report, { reason: 'internal-error', events: 1 }, policy)
    t.like(report.first, { contextInvalid: true, resumed: false }, policy)
    t.regex(report.detail, /invalid context/, policy)
    t.true(text.startsWith(report.output), report.output)
  }
})

notify('internal-error stops the machine at a valid context, and the message reports the valid context', async t => {
  const rules = `cap219;notify:port=${COM1},after=20`
  const report = await interposed(rules, { accel: 'kvm,notify-vmexit=internal-error', guest: 'string-io' })
  t.like(report, { reason: 'internal-error', events: 1 })
  t.regex(report.detail, /with valid context/)
  t.notRegex(report.detail, /invalid/)
})

notify('notify-vmexit=disable does not enable the capability', async t => {
  const rules = `cap219;notify:port=${COM1},after=20,flags=1`
  const report = await interposed(rules, { accel: 'kvm,notify-vmexit=disable', guest: 'string-io' })
  t.like(report, { reason: 'guest-reset', events: 0, warnings: [], output: text })
  t.deepEqual(report.status, { supported: true, enabled: false, total: 0 })
})

notify('ten thousand notify exits in a row cause one warning, and all are counted', async t => {
  const rules = `cap219;notify:port=${COM1},after=20,count=10000`
  const report = await interposed(rules, { accel: 'kvm', guest: 'string-io' })
  t.like(report, { reason: 'guest-reset', exits: 10000, vcpus: [10000], warnings: ['NOTIFY_EXIT'], output: text })
  t.is(report.status.total, 10000)
  // Each event has the number of events dropped directly before it. Only the totals contain the
  // events dropped after the last one.
  t.is(report.unaccounted, 0)
  t.is(report.last?.total, report.events + report.dropped)
  // The queue holds this many events before the first one is dropped.
  t.true(report.events >= 1024, `${report.events}`)
})

notify('notify exits of two vCPUs are counted separately', async t => {
  const exits = `notify:port=${UNCLAIMED},after=1,count=2;notify:vcpu=1,port=${UNCLAIMED},after=2,count=3`
  // The kernel recommends up to 9 vCPUs here (KVM_CAP_NR_VCPUS), so the only warning is about the exits.
  const rules = `cap219;cap:9=2;${exits}`
  const report = await interposed(rules, { accel: 'kvm', guest: 'smp', append: 'cpus=2', cpus: 2 })
  t.like(report, { reason: 'guest-reset', events: 5, vcpus: [2, 3], warnings: ['NOTIFY_EXIT'] })
  for (const processor of [0, 1]) t.true(report.output.includes(`processor ${processor} wrote 8\n`), report.output)
})

notify('kicks, notify exits and the guest’s output do not lose one another', async t => {
  const rules = `cap219;notify:port=${COM1},after=1,every=1,count=1000000`
  const one = { accel: 'kvm', guest: 'serial-flood', append: 'count=500', pauses: 200 }
  const report = await interposed(rules, one)
  const lines = Array.from({ length: 500 }, (_, line) => `flood ${line}\n`).join('')
  t.like(report, { reason: 'guest-reset', output: lines, exits: lines.length, warnings: ['NOTIFY_EXIT'] })
})

notify('an exceeded budget turns run into internal-error, and the message names the budget', async t => {
  const accel = 'kvm,notify-budget=3/60'
  const within = await interposed(`cap219;notify:port=${COM1},count=3`, { accel, guest: 'string-io' })
  t.like(within, { reason: 'guest-reset', events: 3 })
  const exceeded = await interposed(`cap219;notify:port=${COM1},count=4`, { accel, guest: 'string-io' })
  t.like(exceeded, { reason: 'internal-error', events: 4 })
  t.regex(exceeded.detail, /notify-budget/)
})

notify('without the capability the status reports no support, and only a machine with a policy warns', async t => {
  const rules = 'cap:219=0'
  const silent = await interposed(rules, { accel: 'kvm', guest: 'hello' })
  t.like(silent, { reason: 'guest-reset', warnings: [] })
  t.deepEqual(silent.status, { supported: false, enabled: false, total: 0 })
  const asked = await interposed(rules, { accel: 'kvm,notify-vmexit=run', guest: 'hello' })
  t.like(asked, { reason: 'guest-reset', warnings: ['NOTIFY_UNSUPPORTED'] })
})
