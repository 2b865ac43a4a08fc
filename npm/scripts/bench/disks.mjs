// A raw disk from inside Linux, beside QEMU with the same argv: 4 KiB at random places and 1 MiB in sequence, without the guest's page cache, one
// request at a time. The image is in the host's page cache for both, and each is what it is by default: io_uring here, threads in QEMU.
// Then the device alone, driven by a mock driver: what the queue, the checks and the thread cost beside the same reads of the file.

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

/** Microseconds a request, or MiB a second. */
const figure = (unit, { time, bytes }) => (unit === 'us' ? time / 1000 / (bytes / 4096) : bytes / MIB / (time / 1e9))

const group = { name: 'virtio-blk, raw image', unit: 'us', digits: 1 }

/** From inside Linux, `rounds` boots of each. */
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
      // Times and rates both as "at most this much worse".
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

/** The device without a guest: microseconds for each 4 KiB read. */
export const diskDevice = async ({ rounds }) => {
  const bench = rustBench('block')
  const depths = [1, 32]
  const times = Object.fromEntries(depths.map(depth => [depth, { file: [], device: [] }]))
  try {
    for (let round = 0; round < rounds; round++)
      for (const depth of depths) {
        const told = await bench.ask(`${depth} 1024`)
        for (const name of ['file', 'device']) times[depth][name].push(told[name] / 1000)
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
