// A port answered by a device written in JavaScript, timed by the guest's own time stamp counter.

import { writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { Machine, guestImage } from 'kvm-accel'
import { differences, row } from './table.mjs'

const EXITS = 500
const kernel = guestImage('pio-loop')

/** Measures the ticks of each of the guest's writes to port 0xe0. */
const ticks = async device => {
  const machine = await Machine.create({
    kernel,
    memory: '16M',
    append: `count=${EXITS}`,
    serial: 'stream',
    noReboot: true,
  })
  if (device) await machine.addDevice({ pio: [0xe0, 1], ...device })
  // Wait, because the first access would otherwise include the time in which the worker loads its
  // module.
  if (device?.worker) await setTimeout(300)
  await machine.start()
  let text = ''
  for await (const chunk of machine.serial) text += chunk
  await machine.stop()
  return Number(/ticks (\w+)/.exec(text)[1]) / EXITS
}

/** Measures the microseconds of each access, minus those of an unclaimed port. */
export const javascriptDevices = async ({ rust, rounds }) => {
  const module = join(tmpdir(), `kvm-accel-bench-device-${process.pid}.mjs`)
  writeFileSync(
    module,
    `import { serveDevice } from ${JSON.stringify(import.meta.resolve('kvm-accel'))}\nserveDevice({ write() {} })\n`,
  )
  const devices = {
    unclaimed: undefined,
    worker: { worker: pathToFileURL(module) },
    handler: { write() {} },
    asynchronous: { write: async () => {} },
  }
  const times = Object.fromEntries(Object.keys(devices).map(name => [name, []]))
  for (let round = 0; round < rounds; round++) {
    const { nanosecondsPerTick } = await rust.ask('pio 10')
    for (const [name, device] of Object.entries(devices))
      times[name].push(((await ticks(device)) * nanosecondsPerTick) / 1000)
  }
  const beyond = (name, title) => row(title, differences(times[name], times.unclaimed), { signed: true })
  return {
    name: 'JavaScript devices: an access and its answer',
    unit: 'us',
    digits: 1,
    rows: [
      row('an unclaimed port', times.unclaimed),
      beyond('worker', 'a handler in a worker'),
      beyond('handler', "a handler on the machine's thread"),
      beyond('asynchronous', '... that returns a promise'),
    ],
  }
}
