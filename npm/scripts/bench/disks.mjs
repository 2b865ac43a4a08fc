// A raw disk measured from inside Linux, beside QEMU with the same argv: 4 KiB at random places and
// 1 MiB in sequence, without the guest's page cache, one request at a time. For both programs the
// image is in the host's page cache, and the I/O engine is the default: io_uring for kvm-accel,
// threads for QEMU. Then the device alone, driven by a mock driver: the cost of the queue, the
// checks and the thread, beside the same reads of the file.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { qemuName } from './guests.mjs'
import { commands, guestOptions, measured, testKernel } from './linux-guest.mjs'
import { rustBench } from './rust-bench.mjs'
import { ratios, row } from './table.mjs'

const MIB = 1 << 20
/** The guest's measurements, and the unit of each. */
const kinds = [
  ['random-read', 'random read, 4 KiB', 'us'],
  ['random-write', 'random write, 4 KiB', 'us'],
  ['sequential-read', 'sequential read, 1 MiB', 'MiB/s'],
  ['sequential-write', 'sequential write, 1 MiB', 'MiB/s'],
]

/** Converts a measurement to microseconds for each request, or to MiB for each second. */
const figure = (unit, { time, bytes }) => (unit === 'us' ? time / 1000 / (bytes / 4096) : bytes / MIB / (time / 1e9))

const group = { name: 'virtio-blk, raw image', unit: 'us', digits: 1 }

/** Measures from inside Linux, with `rounds` boots of each program. */
export const disks = async ({ rounds }) => {
  if (!testKernel) return { ...group, rows: [row('KVM_ACCEL_TEST_KERNEL is not set', [])] }
  const folder = mkdtempSync(join(tmpdir(), 'kvm-accel-bench-'))
  try {
    writeFileSync(join(folder, 'disk'), Buffer.alloc(32 * MIB, 'disk'))
    const options = [
      ...guestOptions(folder, 'disk-guest.c', 'tiny'),
      ...[
        '-drive',
        `file=${join(folder, 'disk')},format=raw,if=none,id=disk`,
        '-device',
        'virtio-blk-device,drive=disk',
      ],
    ]
    const results = { ours: [], qemu: [] }
    for (let round = 0; round < rounds; round++)
      for (const [name, command] of Object.entries(commands(options)))
        results[name].push(await measured(command, kinds))
    const rows = kinds.flatMap(([kind, title, unit]) => {
      const of = name => results[name].map(result => figure(unit, result[kind]))
      // Expresses both times and rates as "at most this much worse".
      const worse = () => (unit === 'us' ? ratios(of('ours'), of('qemu')) : ratios(of('qemu'), of('ours')))
      return [
        row(title, of('ours'), { unit: ` ${unit}` }),
        ...(qemuName
          ? [
              row(`  ${qemuName}`, of('qemu'), { unit: ` ${unit}` }),
              row('  ours / QEMU, time', worse(), { target: 1, unit: ' x' }),
            ]
          : [row('  QEMU is not installed', [])]),
      ]
    })
    return { ...group, rows }
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** Measures the device without a guest: microseconds for each read of 4 KiB. */
export const diskDevice = async ({ rounds }) => {
  const bench = rustBench('block')
  const depths = [1, 32]
  const times = Object.fromEntries(depths.map(depth => [depth, { file: [], device: [] }]))
  try {
    for (let round = 0; round < rounds; round++)
      for (const depth of depths) {
        const result = await bench.ask(`${depth} 1024`)
        for (const name of ['file', 'device']) times[depth][name].push(result[name] / 1000)
      }
  } finally {
    bench.end()
  }
  const rows = depths.flatMap(depth => [
    row(`4 KiB read by the device, ${depth} at a time`, times[depth].device),
    row('  read() of the same file', times[depth].file),
  ])
  return { name: 'virtio-blk without a guest', unit: 'us', digits: 2, rows }
}
