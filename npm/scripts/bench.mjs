// `npm run bench` measures kvm-accel beside the raw ioctls, QEMU and Node itself, in one run that
// alternates between them.
//
// A difference is the median of the differences within each round. A temporary slowdown of the host
// therefore cancels out.

import { writeFileSync } from 'node:fs'
import { cpus, loadavg, release } from 'node:os'
import { parseArgs } from 'node:util'
import { table } from './bench/table.mjs'
import { rustBench } from './bench/rust-bench.mjs'
import { fail, setUp } from './steps.mjs'

/**
 * Loads a file of ./bench/. Loaded late, because these files import the package, which must be
 * built first.
 */
const from = name => import(`./bench/${name}.mjs`)

/**
 * The groups, in order. Each function gets the Rust benchmark, the number of rounds, and whether
 * the run is a quick one.
 */
const GROUPS = {
  pio: async ({ rust, rounds }) => (await from('exits')).exits({ rust, rounds, kind: 'pio', target: 0.1 }),
  mmio: async ({ rust, rounds }) => (await from('exits')).exits({ rust, rounds, kind: 'mmio', target: 0.1 }),
  'pio-writes': async ({ quick }) => (await from('writes')).writes({ rounds: quick ? 10 : 60, kind: 'pio' }),
  'mmio-writes': async ({ quick }) => (await from('writes')).writes({ rounds: quick ? 10 : 60, kind: 'mmio' }),
  'dirty-log': async ({ quick }) => (await from('dirty-log')).dirtyLog({ rounds: quick ? 5 : 30 }),
  vcpus: async ({ rust, quick }) => (await from('vcpus')).vcpus({ rust, rounds: quick ? 3 : 15 }),
  'javascript-devices': async ({ rust, quick }) =>
    (await from('javascript-devices')).javascriptDevices({ rust, rounds: quick ? 5 : 30 }),
  trace: async ({ rust, quick }) => (await from('trace')).trace({ rust, rounds: quick ? 10 : 60 }),
  'javascript-handlers': async ({ rounds }) =>
    (await from('javascript-handlers')).javascriptHandlers({ rounds: 4 * rounds }),
  'first-byte': async ({ rust, rounds }) => (await from('first-byte')).firstByte({ rust, rounds }),
  passt: async ({ quick }) => (await from('first-byte')).passtFirstByte({ rounds: quick ? 5 : 20 }),
  spawned: async ({ quick }) => (await from('spawned')).spawned({ rounds: quick ? 10 : 30 }),
  'event-loop': async ({ quick }) => (await from('event-loop')).eventLoop({ rounds: quick ? 1 : 5 }),
  linux: async ({ quick }) => (await from('linux')).linux({ rounds: quick ? 1 : 7, machines: 4 }),
  'disk-device': async ({ quick }) => (await from('disks')).diskDevice({ rounds: quick ? 5 : 30 }),
  disks: async ({ quick }) => (await from('disks')).disks({ rounds: quick ? 1 : 7 }),
  vsock: async ({ quick }) => (await from('vsock')).vsock({ rounds: quick ? 100 : 1000, transfers: quick ? 2 : 10 }),
  networks: async ({ quick }) => (await from('networks')).networks({ rounds: quick ? 1 : 3 }),
  memory: async ({ quick }) => (await from('memory')).memory({ rounds: quick ? 1 : 5, machines: 100 }),
}

const HELP = `Usage: npm run bench -- [options]

  --quick        fewer rounds
  --only GROUPS  measure these groups only; names separated by commas
  --json FILE    write the same numbers to FILE as JSON
  --help         print this text

Groups, in their order:
  ${Object.keys(GROUPS).join('\n  ')}
`

/** Parses the command line. An unknown option is an error. */
const readOptions = () => {
  try {
    const { values } = parseArgs({
      options: {
        json: { type: 'string' },
        only: { type: 'string' },
        quick: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    })
    const names = values.only?.split(',') ?? Object.keys(GROUPS)
    const unknown = names.find(name => !Object.hasOwn(GROUPS, name))
    if (unknown !== undefined) throw new Error(`unknown group '${unknown}' in --only`)
    return { ...values, names }
  } catch (error) {
    return fail(error.message, '`npm run bench -- --help` lists the options and the groups.')
  }
}

const options = readOptions()
if (options.help) {
  process.stdout.write(HELP)
  process.exit()
}

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
const { quick } = options
try {
  for (const name of Object.keys(GROUPS).filter(name => options.names.includes(name))) {
    groups.push(await GROUPS[name]({ rust, quick, rounds: quick ? 20 : 150 }))
    console.log(`\n${table(groups.at(-1))}`)
  }
} finally {
  rust.end()
}
if (options.json) writeFileSync(options.json, `${JSON.stringify({ host, quick, groups }, null, 2)}\n`)
