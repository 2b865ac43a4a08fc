// The types of trace records. Compiled, never run.

import type { Machine, TraceEventName, TraceRecord, TraceStream } from 'kvm-accel'
import type { Equal, Expect } from './expect.js'

type Notify = Extract<TraceRecord, { event: 'kvm_notify' }>

export type Records = [
  Expect<Equal<TraceRecord['event'], TraceEventName>>,
  Expect<Equal<TraceRecord['time'], bigint>>,
  Expect<Equal<TraceRecord['vcpu'], number | null>>,
  Expect<Equal<Notify['args']['rip'], bigint>>,
  Expect<Equal<Notify['args']['injected'], boolean>>,
  Expect<Equal<Extract<TraceRecord, { event: 'kvm_vm_ioctl' }>['args']['name'], string>>,
]

export async function uses(machine: Machine): Promise<void> {
  for await (const { args } of machine.trace('kvm_run_exit')) {
    const reason: number = args.reason
    // @ts-expect-error: a record is read-only
    args.reason = reason
  }
  const any: TraceStream<TraceRecord> = machine.trace('kvm_*')
  for await (const record of any) if (record.event === 'kvm_notify') record.args.rip satisfies bigint
  for await (const record of machine.trace(['kvm_run_exit', 'kvm_notify'])) {
    // @ts-expect-error: the record may be of either event
    record.args.reason satisfies number
    if (record.event === 'kvm_run_exit') record.args.reason satisfies number
  }
}
