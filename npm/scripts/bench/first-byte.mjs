// From the API call to the guest's first byte, in a process that has made machines before.

import { once } from 'node:events'
import { Machine, guestImage } from 'kvm-accel'
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

/** Milliseconds: raw ioctls, the machine from Rust, the machine from JavaScript. */
export const firstByte = async ({ rust, rounds }) => {
  const times = { raw: [], board: [], javascript: [] }
  for (let n = 0; n < WARM_UP; n++) await fromJavaScript()
  for (let round = 0; round < rounds; round++) {
    const { raw, board } = await rust.ask('first-byte')
    times.raw.push(raw)
    times.board.push(board)
    times.javascript.push(await fromJavaScript())
  }
  return {
    name: 'API call to first guest byte, warm process, 16 MiB',
    unit: 'ms',
    digits: 2,
    rows: [
      row('raw ioctls, same order', times.raw),
      row('the machine, from Rust', times.board),
      row('Machine.create() and start()', times.javascript),
      row('... as a multiple of raw', ratios(times.javascript, times.raw), { target: 1.3, unit: 'x' }),
    ],
  }
}
