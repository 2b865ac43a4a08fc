import { join } from 'node:path'
import { guestFile } from './guest-file.js'
import { enableArguments, interpose, type Interposed } from './interpose.js'
import { cli, scratch } from './paths.js'
import { Qmp } from './qmp.js'
import { start, type Finished } from './spawn.js'

/** A machine that is run under kvm-accel and under QEMU. */
export interface Case {
  /** The text of `-accel`. */
  readonly accel: string
  /** An embedded guest. */
  readonly guest: string
  readonly append?: string
  readonly cpus?: number
  /** The interposer's rules. Without rules, the process runs without the interposer. */
  readonly rules?: string
}

/** The behaviour that a user can observe. */
export interface Observed {
  /** `ended`: the guest reset itself; `internal-error`: the run state; `refused`: the machine never ran. */
  readonly outcome: 'ended' | 'internal-error' | 'refused' | 'hung'
  /** The number of notify exits that stderr reports. */
  readonly warnings: number
  /** The number of times that stderr reports that the host cannot enforce the policy. */
  readonly unsupported: number
  /** The argument of KVM_ENABLE_CAP(219); `none` if it was not called. */
  readonly enable: string
  /** The guest's output. */
  readonly output: string
  /** The whole of stderr, for the message of a failed assertion; never compared. */
  readonly stderr: string
}

const CAP_X86_NOTIFY_VMEXIT = 219

/** Returns one command line for both programs. Only the program and its monitor differ. */
const argv = ({ accel, guest, append = '', cpus = 1 }: Case): string[] => [
  ...[
    '-M',
    'microvm',
    '-accel',
    accel,
    '-m',
    '16M',
    '-smp',
    String(cpus),
    '-kernel',
    guestFile(guest),
    '-append',
    append,
  ],
  ...['-nodefaults', '-no-user-config', '-display', 'none', '-serial', 'stdio', '-no-reboot'],
]

const count = (text: string, pattern: RegExp): number => text.match(pattern)?.length ?? 0

const observe = (
  { stdout, stderr }: Finished,
  interposed: Interposed | undefined,
  outcome: Observed['outcome'],
  warning: RegExp,
): Observed => ({
  outcome,
  warnings: count(stderr, warning),
  unsupported: count(stderr, /^kvm-accel: warning: .*KVM_CAP_X86_NOTIFY_VMEXIT/gm),
  enable: (interposed && enableArguments(interposed.calls(), CAP_X86_NOTIFY_VMEXIT).join(' ')) || 'none',
  output: stdout,
  stderr,
})

/** Runs the case under `kvm-accel run`. The exit status determines the outcome. */
export const ours = async (one: Case): Promise<Observed> => {
  const interposed = one.rules === undefined ? undefined : interpose(one.rules)
  const finished = await start(process.execPath, [cli, 'run', ...argv(one)], { env: interposed?.env ?? {} }).finished
  const outcomes = new Map<number | null, Observed['outcome']>([
    [0, 'ended'],
    [1, 'refused'],
    [70, 'internal-error'],
  ])
  return observe(finished, interposed, outcomes.get(finished.status) ?? 'hung', /notify VM exit on vCPU/g)
}

let sockets = 0

/** Runs the case under QEMU. The exit status and the monitor determine the outcome. */
export const qemus = async (one: Case): Promise<Observed> => {
  const interposed = one.rules === undefined ? undefined : interpose(one.rules)
  const socket = join(scratch(), `qmp-${process.pid}-${++sockets}`)
  let state = 'running'
  const qmp = new Qmp(socket, monitor => {
    const ask = async (): Promise<void> => {
      state = ((await monitor.execute('query-status')) as { readonly status: string }).status
      if (state === 'internal-error') await monitor.execute('quit')
    }
    // QEMU may end at any moment, and the query then fails. `finished` waits for that end.
    ask().catch(() => {})
  })
  const args = [...argv(one), '-qmp', `unix:${socket}`]
  const finished = await start('qemu-system-x86_64', args, { env: interposed?.env ?? {} }).finished
  qmp.close()
  let outcome: Observed['outcome'] = finished.status === 0 ? 'ended' : 'refused'
  if (state === 'internal-error') outcome = 'internal-error'
  if (finished.timedOut) outcome = 'hung'
  return observe(finished, interposed, outcome, /Encounter a notify exit/g)
}
