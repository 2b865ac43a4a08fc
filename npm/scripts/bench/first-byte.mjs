// From the API call to the guest's first byte, in a process that has made machines before.

import { once } from 'node:events'
import { createRequire } from 'node:module'
import { Machine, guestImage } from 'kvm-accel'
import { baselineAddon } from '../steps.mjs'
import { ratios, row } from './table.mjs'

/** Machines made before the first that counts: by then Node has compiled what they need. */
const WARM_UP = 100

const kernel = guestImage('hello')

const fromJavaScript = async () => {
  const start = performance.now()
  const machine = await Machine.create({ kernel, memory: '16M', serial: 'stream', noReboot: true })
  const byte = once(machine.serial, 'data')
  await machine.start()
  await byte
  const time = performance.now() - start
  await machine.stop()
  return time
}

/**
 * Milliseconds in a small Rust program and in Node, each beside the raw ioctls in the same process: some of them are slower in a
 * process with as many mappings as Node has.
 */
export const firstByte = async ({ rust, rounds }) => {
  const { rawFirstByte } = createRequire(import.meta.url)(baselineAddon())
  const times = { raw: [], board: [], rawInNode: [], javascript: [] }
  for (let n = 0; n < WARM_UP; n++) await fromJavaScript()
  for (let round = 0; round < rounds; round++) {
    const { raw, board } = await rust.ask('first-byte')
    times.raw.push(raw)
    times.board.push(board)
    times.rawInNode.push(rawFirstByte(16 << 20))
    times.javascript.push(await fromJavaScript())
  }
  const target = { target: 1.3, unit: 'x' }
  return {
    name: 'API call to first guest byte, warm process, 16 MiB',
    unit: 'ms',
    digits: 2,
    rows: [
      row('in Rust: raw ioctls, same order', times.raw),
      row('in Rust: the machine', times.board),
      row('... as a multiple of raw', ratios(times.board, times.raw), target),
      row('in Node: raw ioctls, same order', times.rawInNode),
      row('in Node: Machine.create() and start()', times.javascript),
      row('... as a multiple of raw', ratios(times.javascript, times.rawInNode), target),
    ],
  }
}
