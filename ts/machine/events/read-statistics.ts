// Converts the kernel's flat list of values to statistics by name.

import type { KvmStatistics, Statistic } from './statistics.js'
import type { BindingMachine, BindingStatistic, BindingStatisticsSchema } from '../../native/binding.cjs'
import { unwrap } from '../../native/native.js'

/**
 * The descriptions of the kernel's statistics. They are the same for every machine of the process.
 */
let schema: BindingStatisticsSchema | undefined

/** Reads the kernel's statistics. Returns undefined when the machine is closed. */
export const readStatistics = (native: BindingMachine): Pick<KvmStatistics, 'time' | 'vm' | 'vcpus'> | undefined => {
  const described = schema ?? native.statisticsSchema()
  const time = performance.now()
  const read = native.statisticsValues()
  if (!described || !read) return undefined
  schema = unwrap(described)
  const values = unwrap(read)
  let at = 0
  const next = (): number => values[at++] ?? 0
  const group = (statistics: readonly BindingStatistic[]) =>
    Object.fromEntries(statistics.map(statistic => [statistic.name, withValue(statistic, next)]))
  const vm = group(schema.vm)
  const vcpus = []
  while (at < values.length) vcpus.push(group(schema.vcpu))
  // The kernel's interface keeps the type of each known name.
  return { time, vm, vcpus } as Pick<KvmStatistics, 'time' | 'vm' | 'vcpus'>
}

const withValue = ({ name, kind, unit, base, exponent, bounds }: BindingStatistic, next: () => number): Statistic => {
  const common = { name, unit: (unit ?? null) as Statistic['unit'], base: base as Statistic['base'], exponent }
  if (kind !== 'linear-histogram' && kind !== 'log2-histogram') {
    return { ...common, type: kind as 'cumulative', value: next() }
  }
  const buckets = bounds.map((from, index) => ({ from, to: bounds[index + 1] ?? Infinity, count: next() }))
  return { ...common, type: kind, buckets }
}
