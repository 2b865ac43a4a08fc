import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { interposer, scratch } from './paths.js'

/** One line of the interposer's log. crates/interposer documents the format. */
export interface Call {
  readonly pid: number
  readonly ioctl: string
  readonly fd: number
  readonly result: number
  readonly interposed: boolean
  readonly cap?: number
  readonly flags?: number
  /** The first argument of KVM_ENABLE_CAP, in hexadecimal. */
  readonly arg?: string
  readonly id?: number
  readonly vcpu?: number
  readonly notify?: number
  /** The leaves of KVM_SET_CPUID2: `FUNCTION.INDEX.FLAGS:EAX,EBX,ECX,EDX`, in hexadecimal. */
  readonly leaves?: string
}

/** The settings that run a process under the interposer. */
export interface Interposed {
  /** Variables to add to the environment of the process. */
  readonly env: Readonly<Record<string, string>>
  /** Returns the calls so far, in order. */
  readonly calls: () => readonly Call[]
}

let logs = 0

/** Returns the settings of a process under these rules (see crates/interposer), with a log. */
export const interpose = (rules: string): Interposed => {
  if (interposer === undefined) throw new Error('The interposer is not built')
  const log = join(scratch(), `calls-${process.pid}-${++logs}`)
  writeFileSync(log, '')
  return {
    env: { LD_PRELOAD: interposer, KVM_INTERPOSE: `${rules};log=${log}` },
    calls: () =>
      readFileSync(log, 'utf8')
        .split('\n')
        // The process may be writing the last line.
        .slice(0, -1)
        .map(line => JSON.parse(line) as Call),
  }
}

/** Returns the arguments of KVM_ENABLE_CAP for a capability, as the kernel would receive them. */
export const enableArguments = (calls: readonly Call[], cap: number): readonly string[] =>
  calls.filter(call => call.ioctl === 'KVM_ENABLE_CAP' && call.cap === cap).map(call => call.arg ?? '')
