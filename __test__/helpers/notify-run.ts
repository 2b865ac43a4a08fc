// Runs one machine with notify exits and returns everything that can be observed of them. Used by
// the tests of this process, by interposed processes and on the second host.

import { readFileSync, readdirSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import { Machine, guestImage, type NotifyEvent } from 'kvm-accel'

export interface NotifyCase {
  /** The text of option `accel`. */
  readonly accel: string
  readonly guest: string
  readonly append?: string
  readonly cpus?: number
  /** The number of times that the running machine is paused and resumed. */
  readonly pauses?: number
}

/** A {@link NotifyEvent} in the form that JSON can hold. */
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
  /** The final `machine.accel.notify`. */
  readonly status: { readonly supported: boolean; readonly enabled: boolean; readonly total: number }
  /** The final number of exits in `machine.counters()`. */
  readonly exits: number
  readonly vcpus: readonly number[]
  /** Events that arrived, and the number of lost events that they report. */
  readonly events: number
  readonly dropped: number
  /**
   * Events whose total is not the total of the previous event, plus the events dropped in between,
   * plus one. Counts the events of one vCPU only.
   */
  readonly unaccounted: number
  readonly first: EventSummary | undefined
  readonly last: EventSummary | undefined
  /** Warnings by code. */
  readonly warnings: readonly string[]
  readonly output: string
  /**
   * The kernel's `notify_window_exits`, summed over all vCPUs; -1 if debugfs does not provide it.
   */
  readonly kernel: number
  /** The same sum from `machine.kvmStatistics()`. */
  readonly statistics: number
}

const summary = (event: NotifyEvent): EventSummary => {
  const { vcpu, instruction, contextInvalid, resumed, total, injected } = event
  const [rip, rdx] = [event.rip.toString(16), event.registers.rdx.toString(16)]
  return { vcpu, rip, rdx, instruction, contextInvalid, resumed, total, injected }
}

/** Milliseconds. A last resort against a hang, as in `start`. */
const limit = 60_000

const debugfs = '/sys/kernel/debug/kvm'

/** Returns the counter of this process's only VM. */
const kernelCounter = (): number => {
  try {
    // The kernel names the VM's folder after the thread that created the VM.
    const tasks = readdirSync('/proc/self/task')
    const vm = readdirSync(debugfs).find(name => tasks.includes(name.split('-')[0] ?? ''))
    return Number(readFileSync(`${debugfs}/${vm}/notify_window_exits`, 'utf8'))
  } catch {
    return -1
  }
}

/** Runs the machine to its end. `hung` is the reason of a machine that does not end. */
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
    // `noShutdown` keeps the VM and its counters until they have been read.
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
    // The guest may have ended instead of pausing.
    if (is('paused')) await machine.resume()
  }
  const late = setTimeout(limit, { reason: 'hung', detail: '' }, { ref: false })
  const { reason, detail = '' } = await Promise.race([machine.wait(), late])
  const { supported, enabled, total } = machine.accel.notify
  const { exits, notify } = machine.counters()
  const kernel = kernelCounter()
  const windows = machine.kvmStatistics().vcpus.map(vcpu => vcpu.notify_window_exits?.value ?? 0)
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
