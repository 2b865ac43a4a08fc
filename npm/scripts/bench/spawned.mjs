// The time from spawn to the guest's first byte on standard output.

import { join } from 'node:path'
import { root } from '../steps.mjs'
import { machineOptions, qemu, qemuName, timed } from './guests.mjs'
import { differences, row } from './table.mjs'

/**
 * Measures milliseconds. Node without a program is the lower bound of a command line in JavaScript.
 */
export const spawned = async ({ rounds }) => {
  const commands = {
    node: [process.execPath, '-e', '0'],
    ours: [process.execPath, join(root, 'dist/cli/kvm-accel.js'), 'run', ...machineOptions('hello')],
    ...(qemuName ? { qemu: qemu('hello') } : {}),
  }
  const times = { node: [], ours: [], oursEnd: [], qemu: [], qemuEnd: [] }
  for (let round = -2; round < rounds; round++) {
    for (const [name, command] of Object.entries(commands)) {
      const { firstByte, end } = await timed(command)
      if (round < 0) continue
      times[name].push(firstByte ?? end)
      times[`${name}End`]?.push(end)
    }
  }
  return {
    name: 'spawn to first guest byte',
    unit: 'ms',
    digits: 0,
    rows: [
      row('node -e 0, to its exit', times.node),
      row('kvm-accel run -M microvm', times.ours),
      row('... beyond node -e 0', differences(times.ours, times.node), { target: 15, signed: true }),
      row('... to its exit', times.oursEnd),
      ...(qemuName
        ? [row(qemuName, times.qemu), row('... to its exit', times.qemuEnd)]
        : [row('QEMU is not installed', [])]),
    ],
  }
}
