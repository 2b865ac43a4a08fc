// A Linux guest from spawn to its first line of user space, and the memory of machines that have
// booted, beside QEMU with the same argv. As in tests, KVM_ACCEL_TEST_KERNEL and
// KVM_ACCEL_TEST_INITRD name the kernel and its initramfs.

import { spawn, spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { join } from 'node:path'
import { root } from '../steps.mjs'
import { qemuName } from './guests.mjs'
import { ratios, row } from './table.mjs'

const MIB = 1 << 20
const kernel = process.env['KVM_ACCEL_TEST_KERNEL']
const initrd = process.env['KVM_ACCEL_TEST_INITRD']
/** Shortens the boot. Once booted, the guest ticks once a second. */
const append =
  'console=ttyS0 reboot=t panic=-1 tsc=reliable no_timer_check rodata=off noreplace-smp norandmaps percpu_alloc=page quiet spin'
const up = /^INIT: hello/

const argv = () => [
  ...['-M', 'microvm,acpi=off', '-accel', 'kvm', '-m', '64M', '-kernel', kernel, '-initrd', initrd, '-append', append],
  ...['-nodefaults', '-no-user-config', '-display', 'none', '-serial', 'stdio', '-no-reboot'],
]

/** Returns the proportional set size in MiB. */
const resident = pid => Number(/^Pss: +(\d+) kB/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))[1]) / 1024

/**
 * Boots once. Resolves with the milliseconds from spawn to the first line, and with the memory of
 * the process at that time.
 */
const boot = async ([command, ...args]) => {
  const start = performance.now()
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  try {
    for await (const line of createInterface(child.stdout))
      if (up.test(line)) return { time: performance.now() - start, memory: resident(child.pid) }
    throw new Error(`${command} ended before the guest was up`)
  } finally {
    child.kill('SIGKILL')
  }
}

/** Runs in a child. Starts several machines in one process, and measures the MiB of each. */
const together = async machines => {
  const { Machine } = await import('kvm-accel')
  const all = Array.from({ length: machines }, async () => {
    const machine = await Machine.create({ kernel, initrd, append, memory: 64 * MIB, serial: 'stream' })
    await machine.start()
    const lines = createInterface(machine.serial)
    await new Promise(resolve => lines.on('line', line => up.test(line) && resolve()))
    return machine
  })
  const running = await Promise.all(all)
  console.log(resident('self') / machines)
  await Promise.all(running.map(machine => machine.stop()))
}

/** Starts Linux `rounds` times with each program. */
export const linux = async ({ rounds, machines }) => {
  const name = `Linux to its first line of user space; memory then, guest pages included`
  const group = { name, unit: 'ms', digits: 0 }
  if (!kernel || !initrd) return { ...group, rows: [row('KVM_ACCEL_TEST_KERNEL and _INITRD are not set', [])] }
  const commands = {
    ours: [process.execPath, join(root, 'dist/cli/kvm-accel.js'), 'run', ...argv()],
    ...(qemuName ? { qemu: ['qemu-system-x86_64', ...argv()] } : {}),
  }
  const results = { ours: [], qemu: [] }
  for (let round = 0; round < rounds; round++)
    for (const [name, command] of Object.entries(commands)) results[name].push(await boot(command))
  const of = (name, what) => results[name].map(result => result[what])
  const child = spawnSync(process.execPath, [fileURLToPath(import.meta.url), String(machines)], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  if (child.status !== 0) throw new Error(`The memory benchmark ended with ${child.status ?? child.signal}`)
  const shared = [Number(child.stdout)]
  const beside = qemuName
    ? [
        row(qemuName, of('qemu', 'time')),
        row('ours / QEMU', ratios(of('ours', 'time'), of('qemu', 'time')), { target: 0.9, unit: 'x' }),
      ]
    : [row('QEMU is not installed', [])]
  const memory = [
    row('memory of kvm-accel run', of('ours', 'memory'), { unit: 'MiB' }),
    row(`memory for each of ${machines} machines in one process`, shared, { unit: 'MiB' }),
    ...(qemuName
      ? [
          row(`memory of ${qemuName}`, of('qemu', 'memory'), { unit: 'MiB' }),
          row(
            '... in one process / QEMU',
            ratios(
              of('qemu', 'memory').map(() => shared[0]),
              of('qemu', 'memory'),
            ),
            { target: 0.5, unit: 'x' },
          ),
        ]
      : []),
  ]
  return { ...group, rows: [row('kvm-accel run', of('ours', 'time')), ...beside, ...memory] }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await together(Number(process.argv[2]))
