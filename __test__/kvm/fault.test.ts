// Makes each KVM call of start-up fail once, with each errno of its manual. The failure is an error with a code, leaks
// nothing, and the process continues.

import type { ExecutionContext } from 'ava'
import { join } from 'node:path'
import { interpose, type Call } from '../helpers/interpose.js'
import { root } from '../helpers/paths.js'
import { kvm, preload, requires } from '../helpers/requires.js'
import { run } from '../helpers/spawn.js'

interface Attempt {
  readonly reason?: string
  readonly detail?: string
  readonly error?: {
    readonly code?: string
    readonly ioctl?: string
    readonly errnoName?: string
    readonly message: string
  }
}

interface Resources {
  readonly fds: readonly string[]
  readonly threads: readonly string[]
}

interface Report {
  readonly first: Attempt
  readonly second: Attempt
  readonly before: Resources
  readonly after: Resources
  readonly end: Resources
}

/** Runs two machines in one process under these rules. */
const attempts = async (rules: string): Promise<{ report: Report; calls: readonly Call[] }> => {
  const { env, calls } = interpose(rules)
  const script = join(root, '__test__/helpers/attempts.mjs')
  const { status, stdout, stderr } = await run(process.execPath, [script], { env })
  if (status !== 0) throw new Error(`Status ${status} under ${rules}: ${stderr}`)
  return { report: JSON.parse(stdout) as Report, calls: calls() }
}

/** The errnos of each call, from the kernel's KVM documentation and source. */
const errnos: Readonly<Record<string, readonly string[]>> = {
  KVM_GET_API_VERSION: ['ENOTTY'],
  KVM_CREATE_VM: ['EINVAL', 'ENOMEM', 'EMFILE', 'ENFILE'],
  KVM_GET_VCPU_MMAP_SIZE: ['EINVAL'],
  KVM_ENABLE_CAP: ['EINVAL', 'EPERM'],
  KVM_SET_IDENTITY_MAP_ADDR: ['EINVAL', 'EFAULT'],
  KVM_SET_TSS_ADDR: ['EINVAL', 'ENOMEM', 'EEXIST'],
  KVM_SET_USER_MEMORY_REGION: ['EINVAL', 'ENOMEM', 'EEXIST', 'EFAULT'],
  KVM_CREATE_IRQCHIP: ['EINVAL', 'EEXIST', 'ENOMEM'],
  KVM_CREATE_PIT2: ['EEXIST', 'ENOENT', 'ENOMEM', 'EFAULT'],
  KVM_SET_GSI_ROUTING: ['EINVAL', 'ENOMEM', 'EFAULT'],
  KVM_GET_IRQCHIP: ['EINVAL', 'ENXIO', 'ENOMEM', 'EFAULT'],
  KVM_GET_PIT2: ['ENXIO', 'EFAULT'],
  KVM_SET_IRQCHIP: ['EINVAL', 'ENXIO', 'EFAULT'],
  KVM_SET_PIT2: ['ENXIO', 'EFAULT'],
  KVM_IRQFD: ['EINVAL', 'EBADF', 'EBUSY', 'ENOMEM'],
  KVM_GET_SUPPORTED_CPUID: ['E2BIG', 'ENOMEM', 'EFAULT'],
  KVM_X86_SET_MSR_FILTER: ['EINVAL', 'ENOMEM', 'EFAULT'],
  KVM_X86_GET_MCE_CAP_SUPPORTED: ['EFAULT'],
  KVM_X86_SETUP_MCE: ['EINVAL', 'EFAULT'],
  KVM_GET_MSR_INDEX_LIST: ['EFAULT'],
  KVM_CREATE_VCPU: ['EINVAL', 'EEXIST', 'ENOMEM', 'EMFILE'],
  mmap: ['ENOMEM', 'EAGAIN'],
  KVM_SET_CPUID2: ['EINVAL', 'E2BIG', 'ENOMEM', 'EFAULT'],
  KVM_GET_REGS: ['ENOMEM', 'EFAULT'],
  KVM_SET_REGS: ['ENOMEM', 'EFAULT'],
  KVM_GET_SREGS: ['ENOMEM', 'EFAULT'],
  KVM_GET_SREGS2: ['ENOMEM', 'EFAULT'],
  KVM_SET_SREGS: ['EINVAL', 'ENOMEM'],
  KVM_GET_MP_STATE: ['EFAULT'],
  KVM_GET_VCPU_EVENTS: ['EFAULT'],
  KVM_GET_XSAVE: ['EINVAL', 'ENOMEM', 'EFAULT'],
  KVM_GET_XCRS: ['ENOMEM', 'EFAULT'],
  KVM_GET_MSRS: ['E2BIG', 'ENOMEM', 'EFAULT'],
  KVM_GET_LAPIC: ['EINVAL', 'ENOMEM', 'EFAULT'],
  KVM_GET_DEBUGREGS: ['EFAULT'],
}

/** Calls whose failure has another meaning. Each has a separate test below. */
const special = ['KVM_CHECK_EXTENSION', 'KVM_RUN', 'KVM_GET_STATS_FD', 'KVM_GET_TSC_KHZ', 'KVM_GET_CLOCK']

const goesOn = (t: ExecutionContext, rules: string, { second, before, after, end }: Report): void => {
  t.is(second.reason, 'guest-reset', `${rules}: the next machine: ${JSON.stringify(second)}`)
  t.deepEqual(after, before, `${rules}: left behind by the first machine`)
  t.deepEqual(end, before, `${rules}: left behind by the next machine`)
}

let undisturbed: Promise<{ report: Report; calls: readonly Call[] }> | undefined

const faults = requires(kvm, preload)

faults('start-up makes exactly the calls that this file lists', async t => {
  undisturbed ??= attempts('')
  const { report, calls } = await undisturbed
  t.is(report.first.reason, 'guest-reset')
  goesOn(t, 'no rules', report)
  const known = [...Object.keys(errnos), ...special]
  t.deepEqual([...new Set(calls.map(({ ioctl }) => ioctl))].sort(), known.sort())
})

for (const [name, list] of Object.entries(errnos)) {
  faults(`if ${name} fails once, creation fails and leaves no thread and no descriptor`, async t => {
    undisturbed ??= attempts('')
    const { calls } = await undisturbed
    const [first, second] = [...calls.keys()].filter(at => calls[at]?.ioctl === 'KVM_CREATE_VM')
    // Without manual protection of dirty pages a machine still runs. Without the other capabilities its creation fails.
    const capability = name === 'KVM_ENABLE_CAP' ? 164 : undefined
    const about = (call: Call) => call.ioctl === name && (capability === undefined || call.cap === capability)
    const times = calls.slice(first, second).filter(about).length
    const cases = list.map(errno => ({ errno, nth: 1 }))
    // The last call of a machine is the second vCPU's, so a first vCPU must be released.
    if (times > 1) cases.push({ errno: list[0] ?? '', nth: times })
    for (const { errno, nth } of cases) {
      const rules = `fail:${name},errno=${errno},nth=${nth}${capability ? `,cap=${capability}` : ''}`
      const { report } = await attempts(rules)
      const { error } = report.first
      t.regex(error?.code ?? `no error: ${JSON.stringify(report.first)}`, /^ERR_KVM_/, rules)
      if (error?.code === 'ERR_KVM_IOCTL') t.is(error.errnoName, errno, rules)
      goesOn(t, rules, report)
    }
  })
}

faults('KVM_CREATE_VM is repeated after a signal interrupted it', async t => {
  const rules = 'fail:KVM_CREATE_VM,errno=EINTR,times=3'
  const { report } = await attempts(rules)
  t.is(report.first.reason, 'guest-reset')
  goesOn(t, rules, report)
})

faults('if KVM_CHECK_EXTENSION fails, the capability counts as missing', async t => {
  undisturbed ??= attempts('')
  const { calls } = await undisturbed
  for (const cap of new Set(calls.flatMap(({ cap, ioctl }) => (ioctl === 'KVM_CHECK_EXTENSION' ? [cap ?? 0] : [])))) {
    const rules = `fail:KVM_CHECK_EXTENSION,cap=${cap},errno=EINVAL`
    const { report } = await attempts(rules)
    if (report.first.error)
      t.is(report.first.error.code, 'ERR_KVM_CAPABILITY', `${rules}: ${report.first.error.message}`)
    else t.is(report.first.reason, 'guest-reset', rules)
    goesOn(t, rules, report)
  }
})

for (const name of ['KVM_GET_TSC_KHZ', 'KVM_GET_CLOCK']) {
  faults(`if ${name} fails, the machine still runs to its end`, async t => {
    const rules = `fail:${name},errno=EIO,times=8`
    const { report } = await attempts(rules)
    t.is(report.first.reason, 'guest-reset')
    goesOn(t, rules, report)
  })
}

for (const errno of ['EINTR', 'EAGAIN']) {
  faults(`after KVM_RUN failed with ${errno}, the vCPU enters the guest again`, async t => {
    const rules = `fail:KVM_RUN,errno=${errno},nth=3,times=5`
    const { report } = await attempts(rules)
    t.is(report.first.reason, 'guest-reset')
    goesOn(t, rules, report)
  })
}

for (const errno of ['EFAULT', 'EINVAL', 'ENOEXEC', 'ENOSYS', 'EPERM']) {
  faults(`after KVM_RUN failed with ${errno}, the machine stops in internal-error`, async t => {
    const rules = `fail:KVM_RUN,errno=${errno},nth=3`
    const { report } = await attempts(rules)
    t.is(report.first.reason, 'internal-error')
    t.regex(report.first.detail ?? '', /KVM_RUN/)
    goesOn(t, rules, report)
  })
}

faults('if KVM_GET_STATS_FD fails, kvmStatistics() fails and the machine runs', async t => {
  const rules = 'fail:KVM_GET_STATS_FD,errno=EMFILE,times=2'
  const { report } = await attempts(rules)
  t.is(report.first.reason, 'guest-reset')
  goesOn(t, rules, report)
})
