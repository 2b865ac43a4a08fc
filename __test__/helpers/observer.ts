// Checks what a machine reports: its events in their order, against its guest's counters in the
// file of guest memory, which are read without calling the machine.

import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Machine, type MachineOptions, type RunState } from 'kvm-accel'
import { busyGuestFile, counters } from './busy-guest.mjs'
import { memoryFolder } from './busy-machine.mjs'

let folder: string | undefined
let names = 0

/** Milliseconds after which an awaited event counts as missing. */
export const NEVER = 10_000

/** Resolves as `promise` does; rejects with `what` after {@linkcode NEVER} milliseconds. */
export async function soon<T>(promise: Promise<T>, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const never = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} has not settled after ${NEVER} ms`)), NEVER)
  })
  try {
    return await Promise.race([promise, never])
  } finally {
    clearTimeout(timer)
  }
}

/**
 * A machine that runs the guest of __test__/guests/busy.c with its memory in a file, and the events
 * that it emitted.
 */
export class ObservedGuest {
  readonly machine: Machine
  readonly #ram: string
  /** The run state according to the events. */
  reported: RunState = 'prelaunch'
  /** The names of all events, in order. */
  readonly events: string[] = []
  /** Events that cannot follow the previous ones, and states that contradict them. */
  readonly contradictions: string[] = []

  private constructor(machine: Machine, ram: string) {
    this.machine = machine
    this.#ram = ram
    machine.on('resume', () => this.#event('resume', this.reported !== 'running', 'running'))
    machine.on('stop', ({ state }) => this.#event(`stop ${state}`, this.reported === 'running', state))
    machine.on('reset', ({ guest }) => {
      const possible = !guest || this.reported === 'running'
      this.#event(
        guest ? 'reset by the guest' : 'reset',
        possible,
        this.reported === 'running' ? 'running' : 'prelaunch',
      )
    })
    machine.on('debug', () => this.#event('debug', this.reported === 'debug', 'debug'))
    machine.on('shutdown', ({ reason }) => {
      // A machine that does not run emits no `stop` before `shutdown`.
      const possible =
        this.reported === 'shutdown' ||
        (['host-quit', 'aborted', 'handler-error'].includes(reason) && this.reported !== 'running')
      this.#event(`shutdown ${reason}`, possible, 'shutdown')
    })
    machine.on('notify', ({ injected }) => this.events.push(injected ? 'notify' : 'notify, not injected'))
  }

  static async create({ memory, ...options }: Partial<MachineOptions>): Promise<ObservedGuest> {
    const path = join((folder ??= memoryFolder()), `ram-${++names}`)
    const size = (memory as number | string | undefined) ?? '16M'
    const machine = await Machine.create({
      kernel: busyGuestFile(),
      memory: { size, path, share: true },
      serial: 'null',
      ...options,
    })
    return new ObservedGuest(machine, path)
  }

  #event(name: string, possible: boolean, state: RunState): void {
    this.events.push(name)
    if (!possible) this.contradictions.push(`event '${name}' came in state '${this.reported}'`)
    this.reported = state
    if (this.machine.state !== state) {
      this.contradictions.push(`in the listener of '${name}' the machine reported '${this.machine.state}'`)
    }
  }

  /** Returns how many times an event was emitted. */
  count(event: string): number {
    return this.events.filter(name => name === event).length
  }

  counters(): ReturnType<typeof counters> {
    return counters(this.#ram)
  }

  /** Sends a command to the guest; busy.c describes the commands. */
  command(command: string): void {
    this.machine.serial.write(command)
  }

  /** Waits until the guest's counters satisfy `what`. */
  async until(what: (seen: ReturnType<typeof counters>) => boolean, name: string): Promise<void> {
    for (const end = performance.now() + NEVER; performance.now() < end; await sleep(2)) {
      if (what(this.counters())) return
    }
    throw new Error(
      `${name} has not come after ${NEVER} ms: state '${this.machine.state}', events ${this.events.join(', ')}`,
    )
  }

  /** Resolves with true if the guest makes no progress for `time` milliseconds. */
  async still(time = 20): Promise<boolean> {
    const { loops } = this.counters()
    await sleep(time)
    return this.counters().loops === loops
  }

  /** Resolves with true if the guest makes progress. */
  async progresses(): Promise<boolean> {
    const { loops } = this.counters()
    try {
      await this.until(seen => seen.loops !== loops, 'progress')
      return true
    } catch {
      return false
    }
  }

  /**
   * Resolves with the contradictions between the run state, the events, and the guest's progress.
   * No command may be pending, and the guest must not end by itself meanwhile.
   */
  async inconsistencies(): Promise<readonly string[]> {
    const { state } = this.machine
    const found = [...this.contradictions]
    if (this.reported !== state) found.push(`the machine reports '${state}', its events reported '${this.reported}'`)
    if (state !== 'running') {
      if (!(await this.still())) found.push(`the guest runs in state '${state}'`)
    } else if (!(await this.progresses()) && this.machine.state === 'running') {
      found.push("the guest does not run in state 'running'")
    }
    return found
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await soon(this.machine.stop(), 'stop()')
    this.removeFile()
  }

  /** Removes the file of the guest's memory, and with it the counters. */
  removeFile(): void {
    rmSync(this.#ram, { force: true })
  }
}
