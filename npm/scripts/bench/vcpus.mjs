// Exits of several vCPUs at once: the time of one exit while all of them exit continuously.

import { Machine, guestImage } from 'kvm-accel'
import { qemu, qemuName, timed } from './guests.mjs'
import { ratios, row } from './table.mjs'

/**
 * Exits of each vCPU. The number is large, because the measured time includes the start of the
 * processors.
 */
const EXITS = 2000
const kernel = guestImage('pio-loop')

const perExit = (output, cpus) => Number(/ticks (\w+)/.exec(output)[1]) / (EXITS * cpus)

const ours = async cpus => {
  const append = `count=${EXITS} cpus=${cpus}`
  const machine = await Machine.create({ kernel, cpus, append, memory: '16M', serial: 'stream', noReboot: true })
  await machine.start()
  let output = ''
  for await (const chunk of machine.serial) output += chunk
  await machine.stop()
  return perExit(output, cpus)
}

const theirs = async cpus => {
  const { output } = await timed(qemu('pio-loop', '-smp', `${cpus}`, '-append', `count=${EXITS} cpus=${cpus}`))
  return perExit(output, cpus)
}

/** Measures the microseconds of an exit with 1 to 4 vCPUs, and QEMU's time as a multiple. */
export const vcpus = async ({ rust, rounds }) => {
  const counts = [1, 2, 3, 4]
  const times = { ours: counts.map(() => []), theirs: counts.map(() => []) }
  for (let round = 0; round < rounds; round++) {
    const { nanosecondsPerTick } = await rust.ask('pio 10')
    for (const [n, cpus] of counts.entries()) {
      times.ours[n].push(((await ours(cpus)) * nanosecondsPerTick) / 1000)
      if (qemuName) times.theirs[n].push(((await theirs(cpus)) * nanosecondsPerTick) / 1000)
    }
  }
  return {
    name: 'PIO exits of 1 to 4 vCPUs at once: one exit',
    unit: 'us',
    digits: 2,
    rows: counts.flatMap((cpus, n) => [
      row(`${cpus} vCPU${cpus > 1 ? 's' : ''}`, times.ours[n]),
      ...(qemuName
        ? [row(`... ${qemuName} as a multiple`, ratios(times.theirs[n], times.ours[n]), { unit: 'x' })]
        : []),
    ]),
  }
}
