// One exit to user space and back, timed by the guest's own time stamp counter around its loop.

import { qemu, qemuName, timed } from './guests.mjs'
import { differences, row } from './table.mjs'

/**
 * Exits in a round. They take few milliseconds, less than a time slice, so that a busy host spoils
 * few rounds.
 */
const EXITS = 500

/**
 * Measures the microseconds of an exit of `kind` (`pio`, `mmio`). The difference from the raw
 * ioctls may be at most `target`.
 */
export const exits = async ({ rust, rounds, kind, target }) => {
  const times = { raw: [], bus: [], board: [], qemu: [] }
  for (let round = 0; round < rounds; round++) {
    const { nanosecondsPerTick, ...ticks } = await rust.ask(`${kind} ${EXITS}`)
    for (const [name, value] of Object.entries(ticks)) times[name].push((value * nanosecondsPerTick) / 1000)
    if (qemuName) {
      const { output } = await timed(qemu(`${kind}-loop`, '-append', `count=${EXITS}`))
      times.qemu.push((Number(/ticks (\w+)/.exec(output)[1]) / EXITS) * (nanosecondsPerTick / 1000))
    }
  }
  const beyond = (name, title, options) => row(title, differences(times[name], times.raw), { signed: true, ...options })
  return {
    name: `${kind.toUpperCase()} exit and back`,
    unit: 'us',
    digits: 2,
    rows: [
      row('raw ioctls', times.raw),
      beyond('bus', 'kvm-accel, a bus that does nothing', { target }),
      beyond('board', 'kvm-accel, the whole machine', { target }),
      qemuName ? beyond('qemu', qemuName) : row('QEMU is not installed', []),
    ],
  }
}
