// A process of stillness.test.ts. Pauses busy machines repeatedly, and compares snapshots of their
// memory during each pause. The argument is JSON: `{ seed, pauses, still, machines: [{ name, disk,
// append }] }`, with `pauses` for each machine and `still` in milliseconds. Prints JSON: the
// differences, and the devices' work.

import { openSync, readSync, closeSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { Machine } from 'kvm-accel'
import { counters } from './busy-guest.mjs'
import { busyOptions, memoryFolder, startPeer } from './busy-machine.mjs'
import { random } from './random.mjs'

const { seed, pauses, still, machines } = JSON.parse(process.argv[2])
const MIB = 2 ** 20
const MEMORY = 16 * MIB
const PAGE = 4096
const CHUNK = 64 * PAGE

/** The guest's buffers that each device writes, with names for the report. */
const places = [
  ['rings', 2 * MIB, 3 * MIB],
  ['counters', 3 * MIB, 3 * MIB + PAGE],
  ['disk status', 0x318000, 0x319000],
  ['console input', 0x324000, 0x328000],
  ['rng', 0x360000, 0x368000],
  ['net input', 0x380000, 4 * MIB],
  ['vsock input', 4 * MIB, 0x440000],
  ['disk data', 5 * MIB, 12 * MIB],
  ['balloon', 12 * MIB, 12 * MIB + 32 * PAGE],
]

const snapshot = (path, into) => {
  const file = openSync(path, 'r')
  try {
    for (let at = 0; at < MEMORY;) at += readSync(file, into, at, MEMORY - at, at)
  } finally {
    closeSync(file)
  }
  return into
}

/** Returns the pages in which two snapshots differ. */
const differences = (before, after) => {
  const pages = []
  for (let chunk = 0; chunk < MEMORY; chunk += CHUNK) {
    if (before.compare(after, chunk, chunk + CHUNK, chunk, chunk + CHUNK) === 0) continue
    for (let page = chunk; page < chunk + CHUNK; page += PAGE)
      if (before.compare(after, page, page + PAGE, page, page + PAGE) !== 0) pages.push(page)
  }
  return pages
}

/** Formats the number of pages of each device as text. */
const summary = pages => {
  const counts = new Map()
  for (const page of pages) {
    const [name] = places.find(([, from, to]) => page >= from && page < to) ?? [`0x${page.toString(16)}`]
    counts.set(name, (counts.get(name) ?? 0) + 1)
  }
  return [...counts].map(([name, count]) => `${name} ${count}`).join(', ')
}

const folder = memoryFolder()
const peer = startPeer({ interval: 2 })

const one = async ({ name, disk, append }, index) => {
  const next = random(seed + index)
  const options = await busyOptions({ folder, name, disk, peer, append, consoles: [{ target: 'stream' }] })
  const machine = await Machine.create(options)
  const ram = options.memory.path
  machine.serial.resume()
  const console = machine.consoles[0]
  console.resume()
  await machine.dirtyLog.start()
  const found = { name, moved: [], unmarked: [], late: [], states: [] }
  let [before, after, again] = Array.from({ length: 3 }, () => Buffer.alloc(MEMORY))
  snapshot(ram, before)
  await machine.start()
  while (counters(ram).starts === 0) await sleep(5)
  for (let pause = 0; pause < pauses; pause++) {
    if (pause > 0) await machine.resume()
    if (console.writableLength < 4096) console.write(Buffer.alloc(2048, pause))
    await sleep(2 + next() * 20)
    await machine.pause()
    if (machine.state !== 'paused') found.states.push(`pause ${pause}: ${machine.state}`)
    snapshot(ram, after)
    const dirty = await machine.dirtyLog.take()
    const unmarked = differences(before, after).filter(page => !dirty.has(page))
    if (unmarked.length > 0) found.unmarked.push(`pause ${pause}: ${summary(unmarked)}`)
    await sleep(still)
    snapshot(ram, again)
    const moved = differences(after, again)
    if (moved.length > 0) found.moved.push(`pause ${pause}: ${summary(moved)}`)
    const late = (await machine.dirtyLog.take()).pages
    if (late > 0) found.late.push(`pause ${pause}: ${late} pages`)
    ;[before, again] = [again, before]
  }
  await machine.stop()
  return { ...found, pauses, counters: counters(ram) }
}

const results = await Promise.all(machines.map(one))
process.stdout.write(JSON.stringify(results))
peer[Symbol.dispose]()
process.exit()
