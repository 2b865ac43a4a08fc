// A guest that writes pages while they are noted, or not; and what it costs to ask for them.

import { once } from 'node:events'
import { Machine, guestImage } from 'kvm-accel'
import { differences, row } from './table.mjs'

/** Of pages that a generator chooses from 14336, most of them once. */
const WRITES = 5000
const kernel = guestImage('dirty')

const variants = {
  off: { title: 'not noted', log: false, ring: 0 },
  bitmap: { title: 'bitmap', log: true, ring: 0 },
  ring: { title: 'ring of 4096', log: true, ring: 4096 },
}

/** Microseconds of processor time since the process began: unlike time, what others do here is not in it. */
const spent = () => {
  const { user, system } = process.cpuUsage()
  return user + system
}

/** Microseconds for each write from the start of the guest on, and for each page that is asked for. */
const measure = async ({ log, ring }) => {
  const machine = await Machine.create({
    accel: { dirtyRingSize: ring },
    kernel,
    memory: '64M',
    append: `wait=1 end=60 count=${WRITES}`,
    serial: 'stream',
  })
  if (log) await machine.dirtyLog.start()
  const written = once(machine.serial, 'data')
  const start = spent()
  await machine.start()
  await written
  const end = spent()
  const pages = log ? (await machine.dirtyLog.take()).pages : 1
  const taken = spent()
  await machine.stop()
  return { write: (end - start) / WRITES, page: (taken - end) / pages }
}

/** Microseconds for each write, what noting it adds, and what taking it does. */
export const dirtyLog = async ({ rounds }) => {
  const times = Object.fromEntries(Object.keys(variants).map(name => [name, { write: [], page: [] }]))
  for (let round = 0; round < rounds; round++) {
    for (const [name, variant] of Object.entries(variants)) {
      const { write, page } = await measure(variant)
      times[name].write.push(write)
      times[name].page.push(page)
    }
  }
  const [off, ...logs] = Object.entries(variants)
  return {
    name: 'Dirty log: processor time of writes to new pages',
    unit: 'us',
    digits: 3,
    rows: [
      row(off[1].title, times.off.write),
      ...logs.flatMap(([name, { title }]) => [
        row(title, differences(times[name].write, times.off.write), { signed: true }),
        row('  take(), for each page', times[name].page),
      ]),
    ],
  }
}
