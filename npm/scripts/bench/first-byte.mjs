// The time from the API call to the guest's first byte, in a process that has created machines
// before.

import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import { Machine, guestImage } from 'kvm-accel'
import { baselineAddon } from '../steps.mjs'
import { differences, ratios, row } from './table.mjs'

/**
 * Machines created before the first measured one. By then Node has compiled the code that they
 * need.
 */
const WARM_UP = 100

const kernel = guestImage('hello')

const fromJavaScript = async (options = {}) => {
  const start = performance.now()
  const machine = await Machine.create({ kernel, memory: '16M', serial: 'stream', noReboot: true, ...options })
  const byte = once(machine.serial, 'data')
  await machine.start()
  await byte
  const time = performance.now() - start
  await machine.stop()
  return time
}

/**
 * Measures milliseconds in a small Rust program and in Node, each beside the raw ioctls in the same
 * process. Some ioctls are slower in a process with as many mappings as Node has.
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
  return {
    name: 'API call to first guest byte, warm process, 16 MiB',
    unit: 'ms',
    digits: 2,
    rows: [
      row('in Rust: raw ioctls, same order', times.raw),
      row('in Rust: the machine', times.board),
      row('... as a multiple of raw', ratios(times.board, times.raw), { target: 1.25, unit: 'x' }),
      row('in Node: raw ioctls, same order', times.rawInNode),
      row('in Node: Machine.create() and start()', times.javascript),
      row('... as a multiple of raw', ratios(times.javascript, times.rawInNode), { target: 1.5, unit: 'x' }),
    ],
  }
}

/** An ARP probe for the gateway, preceded by its length, as in passt's stream. */
const ARP_PROBE = Buffer.from(
  '0000002a' +
    'ffffffffffff' +
    '525400000001' +
    '0806' +
    '0001080006040001' +
    '525400000001' +
    '0a00020f' +
    '000000000000' +
    '0a000202',
  'hex',
)

/** Measures the milliseconds from the start of passt alone to its first answer. */
const passtAlone = async () => {
  const start = performance.now()
  const addresses = ['--address', '10.0.2.15', '--netmask', '24', '--gateway', '10.0.2.2']
  // Node creates its pipes as socket pairs.
  const child = spawn('passt', ['--foreground', '--quiet', '--fd', '3', ...addresses], {
    stdio: ['ignore', 'ignore', 'ignore', 'pipe'],
  })
  const stream = child.stdio[3]
  stream.write(ARP_PROBE)
  await once(stream, 'data')
  const time = performance.now() - start
  stream.destroy()
  await once(child, 'close')
  return time
}

/**
 * Measures the milliseconds that a network by passt, which is a separate process, adds to the first
 * byte.
 */
export const passtFirstByte = async ({ rounds }) => {
  const group = { name: 'API call to first guest byte with a network by passt', unit: 'ms', digits: 1 }
  if (spawnSync('passt', ['--version']).error) return { ...group, rows: [row('passt is not installed', [])] }
  const times = { without: [], passt: [], alone: [] }
  for (let round = 0; round < rounds; round++) {
    times.without.push(await fromJavaScript())
    times.alone.push(await passtAlone())
    times.passt.push(await fromJavaScript({ networks: [{ backend: { user: true } }] }))
  }
  return {
    ...group,
    rows: [
      row('without a network', times.without),
      row('passt', times.passt),
      row('... beyond that', differences(times.passt, times.without), { target: 10, signed: true }),
      row('passt by itself, to its first answer', times.alone),
    ],
  }
}
