import { KvmAccelError } from '../../errors/kvm-accel-error.js'
import type { Machine } from '../../machine/machine.js'
import type { KvmStatistics, Statistic } from '../../machine/events/statistics.js'
import { Watch } from '../../machine/events/watch.js'
import { printError, printWarning } from '../messages.js'
import { openOutput } from './output.js'

/** `-stats`. */
export interface StatsSettings {
  readonly seconds: number
  /** The file for JSON lines; `null` for standard error. */
  readonly file: string | null
}

/** One sample. This package's own counters come first: they exist on every kernel. */
export interface StatsSample {
  /** Seconds since the first sample. */
  readonly time: number
  /**
   * Exits to user space by kind: their number, and their rate per second since the previous sample.
   */
  readonly exits: Readonly<Record<string, { readonly total: number; readonly rate: number }>>
  /**
   * The kernel's statistics by name, histograms as the counts of their buckets; `null` if the
   * kernel has no statistics.
   */
  readonly kernel: { readonly vm: Values; readonly vcpus: readonly Values[] } | null
}

type Values = Readonly<Record<string, number | readonly number[]>>

/**
 * Reports the machine's exits at an interval, and once more at its end. Disposing it ends the
 * report.
 */
export function reportStats(machine: Machine, { seconds, file }: StatsSettings): AsyncDisposable {
  const output = openOutput('-stats', file)
  const live = file === null && process.stderr.isTTY
  warnWithoutKernel(machine)
  let start: number | undefined
  let before: StatsSample | undefined
  let drawn = 0
  const report = (): StatsSample => {
    start ??= performance.now()
    const sample = takeSample(machine, (performance.now() - start) / 1000, before)
    if (live) {
      const text = statsTable(sample, before)
      // Moves the cursor to the start of the previous table, and clears it.
      output.write(`${drawn > 0 ? `\x1b[${drawn}A\x1b[J` : ''}${text}`)
      drawn = text.split('\n').length - 1
    } else output.write(`${JSON.stringify(sample)}\n`)
    before = { ...sample, kernel: sample.kernel ?? before?.kernel ?? null }
    return sample
  }
  const watch = new Watch(report, seconds * 1000, machine.wait())
  const done = (async () => {
    for await (const _ of watch);
  })().catch(printError)
  return {
    async [Symbol.asyncDispose]() {
      await watch.return()
      await done
      report()
      output[Symbol.dispose]()
    },
  }
}

function warnWithoutKernel(machine: Machine): void {
  try {
    machine.kvmStatistics()
  } catch (error) {
    if (!(error instanceof KvmAccelError)) throw error
    printWarning(`-stats shows our own count only: ${error.message}`)
  }
}

function takeSample(machine: Machine, time: number, before: StatsSample | undefined): StatsSample {
  const elapsed = time - (before?.time ?? time)
  const counts = Object.entries(machine.counters().exits).toSorted(([a], [b]) => (a < b ? -1 : 1))
  const exits = counts.map(([kind, total]) => {
    const rate = elapsed > 0 ? (total - (before?.exits[kind]?.total ?? 0)) / elapsed : 0
    return [kind, { total, rate: Math.round(rate * 10) / 10 }] as const
  })
  return { time: Math.round(time * 1000) / 1000, exits: Object.fromEntries(exits), kernel: ofKernel(machine) }
}

function ofKernel(machine: Machine): StatsSample['kernel'] {
  try {
    const { vm, vcpus }: Pick<KvmStatistics, 'vm' | 'vcpus'> = machine.kvmStatistics()
    return { vm: values(vm), vcpus: vcpus.map(values) }
  } catch (error) {
    // Only this package's own counters remain after the end of a machine, and on a kernel without
    // statistics.
    if (error instanceof KvmAccelError) return null
    throw error
  }
}

function values(statistics: Readonly<Record<string, Statistic | undefined>>): Values {
  const shown = Object.values(statistics).filter(statistic => statistic !== undefined)
  return Object.fromEntries(
    shown.map(statistic => [
      statistic.name,
      'value' in statistic ? statistic.value : statistic.buckets.map(({ count }) => count),
    ]),
  )
}

/**
 * Formats the live table: exits to user space by kind, then the kernel's counters of exits that are
 * not 0, over all vCPUs.
 */
export function statsTable({ time, exits, kernel }: StatsSample, before?: StatsSample): string {
  const rows = [[`exits, ${time.toFixed(1)} s`, 'total', 'per s']]
  for (const [kind, { total, rate }] of Object.entries(exits)) rows.push([`  ${kind}`, `${total}`, rate.toFixed(1)])
  // A machine that has ended has no kernel counters: the last values stay in the table.
  const [sums, sumsBefore] = [kernel ?? before?.kernel, before?.kernel].map(kernelExits)
  const elapsed = time - (before?.time ?? time)
  if (sums && sums.size > 0) rows.push(['the kernel, all vCPUs', '', ''])
  for (const [name, sum] of sums ?? []) {
    const rate = elapsed > 0 ? (sum - (sumsBefore?.get(name) ?? 0)) / elapsed : 0
    if (sum > 0) rows.push([`  ${name}`, `${sum}`, rate.toFixed(1)])
  }
  return rows
    .map(([name = '', total = '', rate = '']) => `${name.padEnd(26)}${total.padStart(14)}${rate.padStart(12)}`)
    .map(line => `${line.trimEnd()}\n`)
    .join('')
}

function kernelExits(kernel: StatsSample['kernel'] | undefined): ReadonlyMap<string, number> {
  const sums = new Map<string, number>()
  for (const vcpu of kernel?.vcpus ?? []) {
    for (const [name, value] of Object.entries(vcpu)) {
      if (typeof value === 'number' && /exits$|injections$/.test(name)) sums.set(name, (sums.get(name) ?? 0) + value)
    }
  }
  return sums
}
