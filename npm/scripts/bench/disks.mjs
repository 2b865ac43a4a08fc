// A raw disk from inside Linux, beside QEMU with the same argv: 4 KiB at random places and 1 MiB in sequence, without the guest's page cache, one
// request at a time. The image is in the host's page cache for both, and each is what it is by default: io_uring here, threads in QEMU.
// Then the device alone, driven by a mock driver: what the queue, the checks and the thread cost beside the same reads of the file.

import { execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { root } from '../steps.mjs'
import { qemuName } from './guests.mjs'
import { rustBench } from './rust-bench.mjs'
import { ratios, row } from './table.mjs'

const kernel = process.env['KVM_ACCEL_TEST_KERNEL']
const append =
  'console=ttyS0 reboot=t panic=-1 tsc=reliable no_timer_check rodata=off noreplace-smp norandmaps percpu_alloc=page quiet'
const MIB = 1 << 20
/** The guest's measurements, and the unit of each. */
const kinds = [
  ['random-read', 'random read, 4 KiB', 'us'],
  ['random-write', 'random write, 4 KiB', 'us'],
  ['sequential-read', 'sequential read, 1 MiB', 'MiB/s'],
  ['sequential-write', 'sequential write, 1 MiB', 'MiB/s'],
]

/** An initramfs ("newc") with `init` and a folder for devices. */
const initramfs = init => {
  const padded = bytes => Buffer.concat([bytes, Buffer.alloc(-bytes.length & 3)])
  const entry = (name, mode, contents = Buffer.alloc(0)) => {
    const title = Buffer.from(`${name}\0`)
    const fields = [1, mode, 0, 0, 1, 0, contents.length, 0, 0, 0, 0, title.length, 0]
    const header = `070701${fields.map(field => field.toString(16).padStart(8, '0')).join('')}`
    return Buffer.concat([padded(Buffer.concat([Buffer.from(header), title])), padded(contents)])
  }
  return Buffer.concat([entry('init', 0o100755, init), entry('dev', 0o40755), entry('TRAILER!!!', 0)])
}

/** One boot: nanoseconds and bytes of each measurement. */
const boot = async ([command, ...args]) => {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  let output = ''
  for await (const chunk of child.stdout) output += chunk
  const told = [...output.matchAll(/^BENCH (\S+) (\d+) (\d+)/gm)].map(([, what, time, bytes]) => [
    what,
    { time: Number(time), bytes: Number(bytes) },
  ])
  if (told.length < kinds.length) throw new Error(`${command} did not measure its disk:\n${output}`)
  return Object.fromEntries(told)
}

/** Microseconds a request, or MiB a second. */
const figure = (unit, { time, bytes }) => (unit === 'us' ? time / 1000 / (bytes / 4096) : bytes / MIB / (time / 1e9))

const group = { name: 'virtio-blk, raw image', unit: 'us', digits: 1 }

/** From inside Linux, `rounds` boots of each. */
export const disks = async ({ rounds }) => {
  if (!kernel) return { ...group, rows: [row('KVM_ACCEL_TEST_KERNEL is not set', [])] }
  const folder = mkdtempSync(join(tmpdir(), 'kvm-accel-bench-'))
  const at = name => join(folder, name)
  try {
    const guest = join(root, 'npm/scripts/bench/disk-guest.c')
    const flags = ['-nostdlib', '-static', '-mgeneral-regs-only', '-O1', '-fno-stack-protector']
    execFileSync('cc', [...flags, '-o', at('init'), guest])
    writeFileSync(at('initrd'), initramfs(readFileSync(at('init'))))
    writeFileSync(at('disk'), Buffer.alloc(32 * MIB, 'disk'))
    const argv = [
      ...['-M', 'microvm,acpi=off', '-accel', 'kvm', '-m', '64M', '-kernel', kernel, '-initrd', at('initrd')],
      ...['-append', append, '-nodefaults', '-no-user-config', '-display', 'none', '-serial', 'stdio', '-no-reboot'],
      ...['-drive', `file=${at('disk')},format=raw,if=none,id=disk`, '-device', 'virtio-blk-device,drive=disk'],
    ]
    const commands = {
      ours: [process.execPath, join(root, 'dist/cli/kvm-accel.js'), 'run', ...argv],
      ...(qemuName ? { qemu: ['qemu-system-x86_64', ...argv] } : {}),
    }
    const results = { ours: [], qemu: [] }
    for (let round = 0; round < rounds; round++)
      for (const [name, command] of Object.entries(commands)) results[name].push(await boot(command))
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
