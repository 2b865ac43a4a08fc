// A port exit while its events are traced, timed by the guest's own time stamp counter.

import { Machine, guestImage } from 'kvm-accel'
import { differences, row } from './table.mjs'

const EXITS = 500
const kernel = guestImage('pio-loop')

/**
 * Measures the ticks of each exit while `globs` are recorded. With `read`, a reader takes the
 * records.
 */
const ticks = async ({ globs, read, limit = 65_536 }) => {
  const machine = await Machine.create({
    kernel,
    memory: '16M',
    append: `count=${EXITS}`,
    serial: 'stream',
    noReboot: true,
  })
  const trace = globs && machine.trace(globs, { limit })
  const reading =
    read &&
    (async () => {
      for await (const _ of trace);
    })()
  await machine.start()
  let text = ''
  for await (const chunk of machine.serial) text += chunk
  await machine.stop()
  await reading
  return Number(/ticks (\w+)/.exec(text)[1]) / EXITS
}

const variants = {
  off: { title: 'no trace session' },
  other: { title: 'another event is traced', globs: 'kvm_notify' },
  full: { title: 'kvm_run_exit, into a full buffer', globs: 'kvm_run_exit', limit: 1 },
  exit: { title: 'kvm_run_exit, recorded', globs: 'kvm_run_exit' },
  read: { title: 'kvm_run_exit, and read at once', globs: 'kvm_run_exit', read: true },
  all: { title: 'all events: two an exit', globs: '*' },
}

/** Measures the microseconds of each exit, and the time that tracing adds. */
export const trace = async ({ rust, rounds }) => {
  const times = Object.fromEntries(Object.keys(variants).map(name => [name, []]))
  for (let round = 0; round < rounds; round++) {
    const { nanosecondsPerTick } = await rust.ask('pio 10')
    for (const [name, variant] of Object.entries(variants))
      times[name].push(((await ticks(variant)) * nanosecondsPerTick) / 1000)
  }
  const [off, ...others] = Object.entries(variants)
  return {
    name: 'Trace: an exit while its events are recorded',
    unit: 'us',
    digits: 2,
    rows: [
      row(off[1].title, times.off),
      ...others.map(([name, { title }]) => row(title, differences(times[name], times.off), { signed: true })),
    ],
  }
}
