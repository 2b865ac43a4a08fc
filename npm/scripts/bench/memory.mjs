// The memory of each further machine of a process, besides the guest memory that it touches.
// Measured in a child process, because a heap that other benchmarks have used would falsify the
// result.

import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { row } from './table.mjs'

const MIB = 1 << 20
const MEMORY = 16 * MIB

/**
 * Returns the proportional set size in bytes, and the part of it that is guest memory: anonymous
 * mappings at least as large as a machine's.
 */
const resident = () => {
  globalThis.gc()
  let all = 0
  let guests = 0
  let guest = false
  for (const line of readFileSync('/proc/self/smaps', 'utf8').split('\n')) {
    const [, from, to, inode] = /^([0-9a-f]+)-([0-9a-f]+) rw-p \S+ \S+ (\d+)/.exec(line) ?? []
    if (/^[0-9a-f]+-/.test(line)) guest = inode === '0' && parseInt(to, 16) - parseInt(from, 16) >= MEMORY
    const pss = Number(/^Pss: +(\d+) kB/.exec(line)?.[1] ?? 0) * 1024
    all += pss
    if (guest) guests += pss
  }
  return { all, guests }
}

/** Runs in the child. Measures the MiB of each machine, and the MiB of touched guest memory. */
const measure = async machines => {
  const { Machine, guestImage } = await import('kvm-accel')
  const { once } = await import('node:events')
  const kernel = guestImage('spin')
  const start = async () => {
    const machine = await Machine.create({ kernel, memory: MEMORY, serial: 'stream' })
    const line = once(machine.serial, 'data')
    await machine.start()
    await line
    // The machine has its threads, its pages and its state. A guest that spins on would only take
    // time from the others.
    await machine.pause()
    return machine
  }
  const all = [await start(), await start()]
  const before = resident()
  for (let n = 0; n < machines; n++) all.push(await start())
  const after = resident()
  for (const machine of all) await machine.stop()
  const each = name => (after[name] - before[name]) / machines / MIB
  return { own: each('all') - each('guests'), guest: each('guests') }
}

/**
 * Measures the MiB of proportional set size of each further machine. The machines are started and
 * run guest code.
 */
export const memory = async ({ rounds, machines }) => {
  const results = Array.from({ length: rounds }, () => {
    const child = spawnSync(process.execPath, ['--expose-gc', fileURLToPath(import.meta.url), String(machines)], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    if (child.status !== 0) throw new Error(`The memory benchmark ended with ${child.status ?? child.signal}`)
    return JSON.parse(child.stdout)
  })
  const values = name => results.map(result => result[name])
  return {
    name: `memory of each further machine, of ${machines} in one process`,
    unit: 'MiB',
    digits: 3,
    rows: [
      row('beyond touched guest pages', values('own'), { target: 0.3 }),
      row('touched guest pages', values('guest')),
    ],
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url))
  console.log(JSON.stringify(await measure(Number(process.argv[2]))))
