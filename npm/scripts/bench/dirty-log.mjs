// A guest that writes pages with and without the dirty log, and the cost of collecting the log.

import { once } from 'node:events'
import { Machine, guestImage } from 'kvm-accel'
import { differences, row } from './table.mjs'

/** The number of writes. A generator chooses the pages from 14336, most of them once. */
const WRITES = 5000
const kernel = guestImage('dirty')

const variants = {
  off: { title: 'not noted', log: false, ring: 0 },
  bitmap: { title: 'bitmap', log: true, ring: 0 },
  ring: { title: 'ring of 4096', log: true, ring: 4096 },
}

/**
 * Returns the microseconds of processor time since the start of the process. Unlike elapsed time,
 * it does not include other processes.
 */
const spent = () => {
  const { user, system } = process.cpuUsage()
  return user + system
}

/**
 * Measures the microseconds of each write from the start of the guest on, and of each page that is
 * collected.
 */
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

/**
 * Measures the microseconds of each write, the cost that the log adds, and the cost of collecting
 * it.
 */
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
