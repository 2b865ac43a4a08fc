// The types of statistics. Compiled, never run.

import type {
  HistogramStatistic,
  Machine,
  KvmStatistics,
  MachineCounters,
  ScalarStatistic,
  Statistic,
  VcpuStatistics,
} from 'kvm-accel'
import type { Equal, Expect, WritableKeys } from './expect.js'

export type Names = [
  Expect<Equal<VcpuStatistics['exits'], ScalarStatistic | undefined>>,
  Expect<Equal<VcpuStatistics['halt_wait_hist'], HistogramStatistic | undefined>>,
  Expect<Equal<VcpuStatistics['of_a_newer_kernel'], Statistic | undefined>>,
  Expect<Equal<KvmStatistics['counters'], MachineCounters>>,
  Expect<Equal<WritableKeys<KvmStatistics>, never>>,
]

export async function uses(machine: Machine): Promise<number> {
  for await (const { vm, vcpus } of machine.watchKvmStatistics(1000))
    return (vcpus[0]?.exits?.value ?? 0) + (vm.pages_4k?.value ?? 0)
  return machine.kvmStatistics().vcpus[0]?.halt_wait_hist?.buckets[0]?.count ?? 0
}
