import { join } from 'node:path'
import { guestFile } from './guest-file.js'
import { enableArguments, interpose, type Interposed } from './interpose.js'
import { cli, scratch } from './paths.js'
import { Qmp } from './qmp.js'
import { start, type Finished } from './spawn.js'

/** A machine to run on both sides. */
export interface Case {
  /** The text of `-accel`. */
  readonly accel: string
  /** An embedded guest. */
  readonly guest: string
  readonly append?: string
  readonly cpus?: number
  /** The interposer's rules; without, the process runs as it is. */
  readonly rules?: string
}

/** What a user could tell. */
export interface Observed {
  /** `ended`: the guest reset itself; `internal-error`: the run state; `refused`: the machine never ran. */
  readonly outcome: 'ended' | 'internal-error' | 'refused' | 'hung'
  /** Times that a notify exit was reported on stderr. */
  readonly warnings: number
  /** Times that stderr said the host cannot enforce the policy. */
  readonly unsupported: number
  /** KVM_ENABLE_CAP(219)'s argument; `none` when it was not called. */
  readonly enable: string
  /** What the guest printed. */
  readonly output: string
  /** All of stderr, for the message of a failed assertion; never compared. */
  readonly stderr: string
}

const CAP_X86_NOTIFY_VMEXIT = 219

/** One command line for both programs; only the program and its monitor differ. */
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

/** The case under `kvm-accel run`: the exit status tells the outcome. */
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

/** The case under QEMU: the exit status and the monitor tell the outcome. */
export const qemus = async (one: Case): Promise<Observed> => {
  const interposed = one.rules === undefined ? undefined : interpose(one.rules)
  const socket = join(scratch(), `qmp-${process.pid}-${++sockets}`)
  let state = 'running'
  const qmp = new Qmp(socket, monitor => {
    const ask = async (): Promise<void> => {
      state = ((await monitor.execute('query-status')) as { readonly status: string }).status
      if (state === 'internal-error') await monitor.execute('quit')
    }
    // QEMU may end at any moment, which is what `finished` waits for.
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
