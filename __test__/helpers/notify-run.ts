// One machine with notify exits, and all that can be told of them. Used by this process's tests, by interposed processes and on
// the second host.

import { readFileSync, readdirSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import { Machine, guestImage, type NotifyEvent } from 'kvm-accel'

export interface NotifyCase {
  /** The text of `accel`. */
  readonly accel: string
  readonly guest: string
  readonly append?: string
  readonly cpus?: number
  /** Times to pause and resume the machine while it runs. */
  readonly pauses?: number
}

/** A {@link NotifyEvent} as JSON has it. */
export interface EventSummary {
  readonly vcpu: number
  readonly rip: string
  readonly rdx: string
  readonly instruction: string
  readonly contextInvalid: boolean
  readonly resumed: boolean
  readonly total: number
  readonly injected: boolean
}

export interface NotifyReport {
  readonly reason: string
  readonly detail: string
  /** `machine.accel.notify`, at the end. */
  readonly status: { readonly supported: boolean; readonly enabled: boolean; readonly total: number }
  /** `machine.stats()`, at the end. */
  readonly exits: number
  readonly vcpus: readonly number[]
  /** Events that arrived, and those that they say were lost. */
  readonly events: number
  readonly dropped: number
  /** Events whose total is not that of the event before, plus those that were dropped in between, plus one. Of one vCPU only. */
  readonly unaccounted: number
  readonly first: EventSummary | undefined
  readonly last: EventSummary | undefined
  /** Warnings by code. */
  readonly warnings: readonly string[]
  readonly output: string
  /** The kernel's `notify_window_exits`, all vCPUs together; -1 where debugfs does not tell it. */
  readonly kernel: number
  /** The same from `machine.statistics()`. */
  readonly statistics: number
}

const summary = (event: NotifyEvent): EventSummary => {
  const { vcpu, instruction, contextInvalid, resumed, total, injected } = event
  const [rip, rdx] = [event.rip.toString(16), event.registers.rdx.toString(16)]
  return { vcpu, rip, rdx, instruction, contextInvalid, resumed, total, injected }
}

/** Milliseconds; a last resort, as in `start`. */
const limit = 60_000

const debugfs = '/sys/kernel/debug/kvm'

/** The counter of this process's only VM. */
const kernelCounter = (): number => {
  try {
    // Named by the thread that created the VM.
    const tasks = readdirSync('/proc/self/task')
    const vm = readdirSync(debugfs).find(name => tasks.includes(name.split('-')[0] ?? ''))
    return Number(readFileSync(`${debugfs}/${vm}/notify_window_exits`, 'utf8'))
  } catch {
    return -1
  }
}

/** Runs the machine to its end; `hung` is the reason of one that does not come there. */
export const notifyRun = async ({
  accel,
  guest,
  append = '',
  cpus = 1,
  pauses = 0,
}: NotifyCase): Promise<NotifyReport> => {
  await using machine = await Machine.create({
    accel,
    append,
    cpus,
    memory: '16M',
    kernel: guestImage(guest),
    serial: 'stream',
    noReboot: true,
    // The VM and its counters stay until they have been read.
    noShutdown: true,
  })
  const warnings: string[] = []
  let [output, events, dropped, unaccounted] = ['', 0, 0, 0]
  let first: EventSummary | undefined
  let last: EventSummary | undefined
  machine.on('warning', ({ code }) => warnings.push(code))
  machine.on('notify', event => {
    events++
    dropped += event.dropped
    if (event.total !== (last?.total ?? 0) + event.dropped + 1) unaccounted++
    last = summary(event)
    first ??= last
  })
  machine.serial.setEncoding('utf8').on('data', (text: string) => (output += text))
  await machine.start()
  const is = (state: Machine['state']): boolean => machine.state === state
  for (let i = 0; i < pauses && is('running'); i++) {
    await machine.pause()
    // The guest may have ended instead.
    if (is('paused')) await machine.resume()
  }
  const late = setTimeout(limit, { reason: 'hung', detail: '' }, { ref: false })
  const { reason, detail = '' } = await Promise.race([machine.wait(), late])
  const { supported, enabled, total } = machine.accel.notify
  const { exits, notify } = machine.stats()
  const kernel = kernelCounter()
  const windows = machine.statistics().vcpus.map(vcpu => vcpu.notify_window_exits?.value ?? 0)
  await machine.stop()
  const status = { supported, enabled, total }
  return {
    reason,
    detail,
    status,
    exits: exits['notify'] ?? 0,
    vcpus: notify,
    events,
    dropped,
    unaccounted,
    first,
    last,
    warnings,
    output,
    kernel,
    statistics: windows.reduce((sum, one) => sum + one, 0),
  }
}
