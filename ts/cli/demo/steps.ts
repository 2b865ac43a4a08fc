// The steps of `kvm-accel demo`. Each boots an embedded guest, and shows the code that does so.

import { once } from 'node:events'
import type { NotifyEvent } from '../../machine/events/notify-event.js'
import { guestImage } from '../../machine/guests.js'
import { Machine } from '../../machine/machine.js'

/** One step. */
export interface Step {
  readonly title: string
  /** The essential lines of `run`. */
  readonly code: string
  /** The page that continues from here, in the package's folder. */
  readonly page: string
  /** Runs guests, and passes what happens, line by line, to `show`. A guest ends with `signal`. */
  readonly run: (show: (line: string) => void, signal: AbortSignal) => Promise<void>
}

const hex = (value: bigint): string => `0x${value.toString(16)}`

/** Guests of the demo need little, and a guest's reset ends its machine. */
const common = { memory: '16M', noReboot: true, serial: 'stream' } as const

export const steps: readonly Step[] = [
  {
    title: 'A guest boots, and this process reads its serial port',
    code: `const machine = await Machine.create({ kernel: guestImage('hello'), serial: 'stream', noReboot: true })
machine.on('shutdown', ({ reason }) => console.log('event: shutdown,', reason))
await machine.start()
for await (const line of machine.serial.lines()) console.log(line)
await machine.wait()
console.log(machine.counters().exits)`,
    page: 'docs/tutorial/first-guest.md',
    run: async (show, signal) => {
      await using machine = await Machine.create({ ...common, kernel: guestImage('hello'), signal })
      machine.on('shutdown', ({ reason }) => show(`event: shutdown, ${reason}`))
      await machine.start()
      for await (const line of machine.serial.lines()) show(line)
      await machine.wait()
      show(`${machine.counters().exits['io']} exits for port I/O`)
    },
  },
  {
    title: 'A conversation: wait for text, and answer',
    code: `await machine.serial.expect('serial-echo')
machine.serial.write('ping q')
console.log((await machine.serial.expect('ping')).match)`,
    page: 'docs/reference/serial-ports.md',
    run: async (show, signal) => {
      await using machine = await Machine.create({ ...common, kernel: guestImage('serial-echo'), signal })
      await machine.start()
      show(`guest: ${(await machine.serial.expect('serial-echo', { signal })).match}`)
      machine.serial.write('ping q')
      show('host:  ping q')
      show(`guest: ${(await machine.serial.expect('ping', { signal })).match}`)
      await machine.wait()
    },
  },
  {
    title: 'A device in JavaScript answers the guest',
    code: `await machine.addDevice({ name: 'counter', pio: [0xe0, 1], write: () => void writes++ })
await machine.start()`,
    page: 'docs/how-to/javascript-devices.md',
    run: async (show, signal) => {
      const kernel = guestImage('pio-loop')
      await using machine = await Machine.create({ ...common, kernel, append: 'count=100', signal })
      let writes = 0
      await machine.addDevice({ name: 'counter', pio: [0xe0, 1], write: () => void writes++ })
      await machine.start()
      await machine.wait()
      show(`the guest wrote ${writes} times to port 0xe0, and waited each time for the JavaScript function`)
    },
  },
  {
    title: 'A guest that never ends is paused, examined and stopped',
    code: `machine.on('stop', ({ state }) => console.log('event: stop,', state))
await machine.pause()
const state = await machine.vcpus[0]?.state()
console.log('RIP is', state?.general.rip)
await machine.stop()`,
    page: 'docs/reference/vcpu-state.md',
    run: async (show, signal) => {
      await using machine = await Machine.create({ ...common, kernel: guestImage('spin'), signal })
      await machine.start()
      await machine.serial.expect('spin', { signal })
      machine.on('stop', ({ state }) => show(`event: stop, ${state}`))
      await machine.pause()
      const state = await machine.vcpus[0]?.state()
      show(`RIP is ${hex(state?.general.rip ?? 0n)}`)
      await machine.stop()
    },
  },
  {
    title: 'A notify VM exit: the guest keeps a CPU, and the policy stops it',
    code: `const machine = await Machine.create({
  kernel: guestImage('spin'),
  accel: { notifyVmexit: 'run', notifyBudget: '1/60' }, // at most one in 60 s
})
machine.on('notify', ({ vcpu, instruction, resumed }) => console.log(vcpu, instruction, resumed))
await machine.injectNotify() // a drill works on any host`,
    page: 'docs/explanation/notify.md',
    run: async (show, signal) => {
      const accel = { notifyVmexit: 'run', notifyBudget: '1/60' } as const
      await using machine = await Machine.create({ ...common, accel, kernel: guestImage('spin'), signal })
      await machine.start()
      await machine.serial.expect('spin', { signal })
      for (let drill = 0; drill < 2; drill++) {
        const notified = once(machine, 'notify', { signal }) as Promise<[NotifyEvent]>
        await machine.injectNotify()
        const [{ vcpu, instruction, resumed }] = await notified
        show(`event: notify of vCPU ${vcpu} at '${instruction}', ${resumed ? 'resumed' : 'stopped'}`)
      }
      const { reason, detail } = await machine.wait()
      show(`the machine stopped, ${reason}: ${detail}`)
    },
  },
]
