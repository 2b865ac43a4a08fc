// `npm run bench`: what kvm-accel costs beside the raw ioctls, QEMU and Node itself, in one run that takes turns between them.
//
//   npm run bench                     everything, some minutes
//   npm run bench -- --quick          fewer rounds
//   npm run bench -- --json FILE      the same numbers as JSON, too
//
// A difference is the median of the differences within each round, so that a host that slows down for a while does not count.

import { writeFileSync } from 'node:fs'
import { cpus, loadavg, release } from 'node:os'
import { parseArgs } from 'node:util'
import { dirtyLog } from './bench/dirty-log.mjs'
import { diskDevice, disks } from './bench/disks.mjs'
import { eventLoop } from './bench/event-loop.mjs'
import { exits } from './bench/exits.mjs'
import { firstByte, passtFirstByte } from './bench/first-byte.mjs'
import { javascriptDevices } from './bench/javascript-devices.mjs'
import { javascriptHandlers } from './bench/javascript-handlers.mjs'
import { linux } from './bench/linux.mjs'
import { memory } from './bench/memory.mjs'
import { networks } from './bench/networks.mjs'
import { spawned } from './bench/spawned.mjs'
import { trace } from './bench/trace.mjs'
import { vcpus } from './bench/vcpus.mjs'
import { vsock } from './bench/vsock.mjs'
import { table } from './bench/table.mjs'
import { rustBench } from './bench/rust-bench.mjs'
import { writes } from './bench/writes.mjs'
import { fail, setUp } from './steps.mjs'

const { values: options } = parseArgs({
  options: { json: { type: 'string' }, quick: { type: 'boolean', default: false } },
})

setUp()
const { Machine, guestImage } = await import('kvm-accel')
const kernel = guestImage('hello')
await Machine.create({ kernel }).then(
  machine => machine.stop(),
  error => fail(error.message, error.remedy),
)

const host = { cpu: cpus()[0]?.model.trim(), processors: cpus().length, kernel: release(), node: process.version }
console.log(
  `${host.cpu} (${host.processors}), Linux ${host.kernel}, Node ${host.node}; load ${loadavg()[0].toFixed(1)}`,
)

const rust = rustBench()
const groups = []
const measure = async group => {
  groups.push(await group)
  console.log(`\n${table(groups.at(-1))}`)
}
const rounds = options.quick ? 20 : 150
try {
  await measure(exits({ rust, rounds, kind: 'pio', target: 0.1 }))
  await measure(exits({ rust, rounds, kind: 'mmio', target: 0.1 }))
  await measure(writes({ rounds: options.quick ? 10 : 60, kind: 'pio' }))
  await measure(writes({ rounds: options.quick ? 10 : 60, kind: 'mmio' }))
  await measure(dirtyLog({ rounds: options.quick ? 5 : 30 }))
  await measure(vcpus({ rust, rounds: options.quick ? 3 : 15 }))
  await measure(javascriptDevices({ rust, rounds: options.quick ? 5 : 30 }))
  await measure(trace({ rust, rounds: options.quick ? 10 : 60 }))
  await measure(javascriptHandlers({ rounds: 4 * rounds }))
  await measure(firstByte({ rust, rounds }))
  await measure(passtFirstByte({ rounds: options.quick ? 5 : 20 }))
  await measure(spawned({ rounds: options.quick ? 10 : 30 }))
  await measure(eventLoop({ rounds: options.quick ? 1 : 5 }))
  await measure(linux({ rounds: options.quick ? 1 : 7, machines: 4 }))
  await measure(diskDevice({ rounds: options.quick ? 5 : 30 }))
  await measure(disks({ rounds: options.quick ? 1 : 7 }))
  await measure(vsock({ rounds: options.quick ? 100 : 1000, transfers: options.quick ? 2 : 10 }))
  await measure(networks({ rounds: options.quick ? 1 : 3 }))
  await measure(memory({ rounds: options.quick ? 1 : 5, machines: 100 }))
} finally {
  rust.end()
}
if (options.json) writeFileSync(options.json, `${JSON.stringify({ host, quick: options.quick, groups }, null, 2)}\n`)
