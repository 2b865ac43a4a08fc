// Runs the same guest, command line and interposed exits under kvm-accel and QEMU 7.2. The behaviour that a user can
// observe must be equal, unless a row states the reason for a difference.

import { ours, qemus, type Case, type Observed } from '../helpers/both.js'
import { dump } from '../helpers/dump.js'
import { kvm, preload, qemu, requires } from '../helpers/requires.js'

/** The case that a row compares. */
type Expected = Pick<Observed, 'outcome' | 'warnings' | 'enable'>

interface Row extends Case {
  readonly name: string
  /** The behaviour of both programs. */
  readonly expected: Expected
  /** The intended difference of kvm-accel. */
  readonly deliberately?: { readonly why: string; readonly ours: Partial<Expected>; readonly unsupported?: number }
  /** The guest's output depends on the scheduling of its processors. */
  readonly anyOrder?: boolean
}

const COM1 = 0x3f8
const COM1_SCRATCH = 0x3ff
const UNCLAIMED = 0x80
const CONTEXT_INVALID = 1

/** One notify exit in the middle of the text that `string-io` writes with `rep outsb`. */
const once = (flags: number): string => `cap219;notify:port=${COM1},after=20,flags=${flags}`

const resumed = { outcome: 'ended', warnings: 1, enable: '0x3' } as const
const stopped = { outcome: 'internal-error', warnings: 1, enable: '0x3' } as const
const undisturbed = { outcome: 'ended', warnings: 0, enable: 'none' } as const

const policies: readonly Row[] = (
  [
    ['run', 0, resumed],
    ['run', CONTEXT_INVALID, stopped],
    ['internal-error', 0, stopped],
    ['internal-error', CONTEXT_INVALID, stopped],
    ['disable', 0, undisturbed],
    ['disable', CONTEXT_INVALID, undisturbed],
  ] as const
).map(([policy, flags, expected]) => ({
  name: `${policy}, context ${flags === 0 ? 'valid' : 'invalid'}`,
  accel: `kvm,notify-vmexit=${policy}`,
  guest: 'string-io',
  rules: once(flags),
  expected,
}))

const windows: readonly Row[] = (
  [
    [0, '0x3'],
    [5, '0x500000003'],
    [4294967295, '0xffffffff00000003'],
  ] as const
).map(([window, enable]) => ({
  name: `window ${window}`,
  accel: `kvm,notify-window=${window}`,
  guest: 'hello',
  rules: 'cap219',
  expected: { outcome: 'ended', warnings: 0, enable },
}))

const refusals: readonly Row[] = ['EINVAL', 'EPERM'].map(errno => ({
  name: `enabling fails with ${errno}`,
  accel: 'kvm',
  guest: 'hello',
  rules: `cap219;fail:KVM_ENABLE_CAP,cap=219,errno=${errno}`,
  expected: { outcome: 'refused', warnings: 0, enable: '0x3' },
}))

const absent = (accel: string, asked: boolean): Row => ({
  name: `capability absent, ${accel}`,
  accel,
  guest: 'hello',
  rules: 'cap:219=0',
  expected: undisturbed,
  deliberately: {
    why: 'QEMU accepts a policy that the host cannot enforce without a word; we warn when one was asked for',
    ours: {},
    unsupported: asked ? 1 : 0,
  },
})

const rows: readonly Row[] = [
  ...policies,
  ...windows,
  ...refusals,
  absent('kvm', false),
  absent('kvm,notify-vmexit=run', true),
  absent('kvm,notify-vmexit=internal-error', true),
  absent('kvm,notify-window=5', true),
  {
    name: 'vCPU 1 of 2, run',
    accel: 'kvm',
    guest: 'smp',
    append: 'cpus=2',
    cpus: 2,
    rules: `cap219;notify:vcpu=1,port=${UNCLAIMED},after=3`,
    expected: resumed,
    anyOrder: true,
  },
  {
    name: 'vCPU 1 of 2, internal-error',
    accel: 'kvm,notify-vmexit=internal-error',
    guest: 'smp',
    append: 'cpus=2 count=100',
    cpus: 2,
    rules: `cap219;notify:vcpu=1,port=${UNCLAIMED},after=3`,
    expected: stopped,
    anyOrder: true,
  },
  {
    name: 'two in a row, run: the second is not reported',
    accel: 'kvm',
    guest: 'string-io',
    rules: `cap219;notify:port=${COM1},after=20,count=2`,
    expected: resumed,
  },
  {
    name: 'a valid context, then an invalid one',
    accel: 'kvm',
    guest: 'string-io',
    rules: `cap219;notify:port=${COM1},after=20;notify:port=${COM1},after=30,flags=1`,
    expected: { ...stopped, warnings: 2 },
  },
  {
    name: 'unknown flag bits are ignored',
    accel: 'kvm',
    guest: 'string-io',
    rules: `cap219;notify:port=${COM1},after=20,flags=4294967294`,
    expected: resumed,
  },
  {
    name: 'between all pieces of string output',
    accel: 'kvm',
    guest: 'string-io',
    rules: `cap219;notify:port=${COM1},every=1,count=60`,
    expected: resumed,
  },
  {
    name: 'between all pieces of string input',
    accel: 'kvm',
    guest: 'string-io',
    rules: `cap219;notify:port=${COM1_SCRATCH},every=1,count=60`,
    expected: resumed,
  },
]

const compared = ({ outcome, warnings, enable }: Observed): Expected => ({ outcome, warnings, enable })

const lines = (text: string): readonly string[] => text.split('\n').sort()

const compare = requires(kvm, preload, qemu)

for (const { name, expected, deliberately, anyOrder, ...one } of rows) {
  compare(`kvm-accel and QEMU have the same outcome: ${name}`, async t => {
    const theirs = await qemus(one)
    const mine = await ours(one)
    t.deepEqual(compared(theirs), expected, `QEMU: ${theirs.stderr}`)
    t.deepEqual(compared(mine), { ...expected, ...deliberately?.ours }, `kvm-accel: ${mine.stderr}`)
    if (deliberately) {
      t.is(mine.unsupported, deliberately.unsupported ?? 0, deliberately.why)
      t.is(theirs.unsupported, 0)
    }
    if (mine.outcome === 'internal-error' && !anyOrder) {
      t.truthy(dump(mine.stderr)['code'])
      t.deepEqual(dump(mine.stderr), dump(theirs.stderr), 'the register dumps')
    }
    // When a machine stops, its processors may be at any instruction. When a machine ends, its output is complete.
    if (!anyOrder) t.is(mine.output, theirs.output)
    else if (expected.outcome === 'ended') t.deepEqual(lines(mine.output), lines(theirs.output))
  })
}

const alone = requires(kvm, preload)

alone('notify-required=on, which QEMU lacks, refuses a host without the capability', async t => {
  const one = { accel: 'kvm,notify-required=on', guest: 'hello', rules: 'cap:219=0' }
  const mine = await ours(one)
  t.deepEqual(compared(mine), { outcome: 'refused', warnings: 0, enable: 'none' }, mine.stderr)
  const enforced = await ours({ ...one, rules: 'cap219' })
  t.deepEqual(compared(enforced), { outcome: 'ended', warnings: 0, enable: '0x3' }, enforced.stderr)
})
