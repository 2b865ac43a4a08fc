// Runs inside the second host, whose KVM has the notify capability: real exits for kvm-accel and
// for QEMU, in one boot. Leaves the results in $OUT for the test outside.

import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ours, qemus, type Case, type Observed } from './both.js'
import { notifyRun, type NotifyReport } from './notify-run.js'

/** The machines. The guest causes the exits itself, with CPUID leaf 0x4e4f5449. */
export const cases = {
  'run, valid': { policy: 'run', append: 'count=1', cpus: 1 },
  'run, invalid': { policy: 'run', append: 'count=1 invalid=1', cpus: 1 },
  'internal-error, valid': { policy: 'internal-error', append: 'count=1', cpus: 1 },
  'internal-error, invalid': { policy: 'internal-error', append: 'count=1 invalid=1', cpus: 1 },
  'disable, valid': { policy: 'disable', append: 'count=1', cpus: 1 },
  'disable, invalid': { policy: 'disable', append: 'count=1 invalid=1', cpus: 1 },
  'two vCPUs, run': { policy: 'run', append: 'count=100 cpus=2', cpus: 2 },
  'two vCPUs, internal-error': { policy: 'internal-error', append: 'count=100 cpus=2', cpus: 2 },
  'ten thousand in a row': { policy: 'run', append: 'count=10000', cpus: 1 },
} as const

/** The notify windows, as the kernel's own check receives them. */
export const windows = [0, 5, 4294967295] as const

export interface SvmReport {
  readonly machines: Readonly<
    Record<string, { readonly api: NotifyReport; readonly cli: Observed; readonly qemu: Observed }>
  >
  readonly windows: Readonly<Record<string, { readonly cli: Observed; readonly qemu: Observed }>>
}

// Without rules the interposer only records: these exits come from the kernel.
const both = async (one: Case): Promise<{ readonly cli: Observed; readonly qemu: Observed }> => {
  const watched = { ...one, rules: '' }
  return { cli: await ours(watched), qemu: await qemus(watched) }
}

const main = async (out: string): Promise<void> => {
  // Mounts debugfs, which has the kernel's counters.
  spawnSync('mount', ['-t', 'debugfs', 'debugfs', '/sys/kernel/debug'])
  const report = { machines: {} as Record<string, unknown>, windows: {} as Record<string, unknown> }
  for (const [name, { policy, ...rest }] of Object.entries(cases)) {
    const one = { ...rest, accel: `kvm,notify-vmexit=${policy}`, guest: 'notify' }
    report.machines[name] = { api: await notifyRun(one), ...(await both(one)) }
  }
  for (const window of windows) {
    const one = { accel: `kvm,notify-window=${window}`, guest: 'notify', append: 'count=1' }
    report.windows[window] = await both(one)
  }
  writeFileSync(join(out, 'report.json'), JSON.stringify(report))
}

if (process.env['OUT'] !== undefined && process.argv[2] === 'run') await main(process.env['OUT'])
