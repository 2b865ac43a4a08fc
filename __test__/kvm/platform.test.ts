// What a kernel finds that is entered without firmware, and the ways in which it resets the machine.

import { mkdtemp, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Machine, guestImage, type KernelIrqchip, type MachineOptions } from 'kvm-accel'
import { guestFile } from '../helpers/guest-file.js'
import { linuxGuest } from '../helpers/linux-guest.js'
import { cli } from '../helpers/paths.js'
import { kvm, linux, qemu, requires } from '../helpers/requires.js'
import { start } from '../helpers/spawn.js'

const test = requires(kvm)
const withLinux = requires(kvm, linux)
const beside = requires(kvm, qemu)

const modes = ['on', 'split', 'off'] as const satisfies readonly KernelIrqchip[]

const consoleOf = async (options: MachineOptions) => {
  await using machine = await Machine.create({ serial: 'stream', noReboot: true, ...options })
  await machine.start()
  let text = ''
  for await (const chunk of machine.serial) text += String(chunk)
  return { text, exit: await machine.wait() }
}

/** What SeaBIOS leaves to a kernel under QEMU's `-M pc`. */
const LEFT = `cr0 0x11
stack 0x1
master 0xb8
slave 0x8e
pit 0x34
com1 0x3f8
ebda 0x9fc0
ebda size 0x1
base memory 0x27f
vector 0x1
timer 0x8
clock 0x70
platform: done
`

for (const kernelIrqchip of modes) {
  test(`a kernel finds what firmware leaves on a PC, with kernel-irqchip=${kernelIrqchip}`, async t => {
    t.timeout(120_000)
    for (const format of ['multiboot', 'pvh'] as const) {
      const kernel = guestImage('platform', { format })
      const { text, exit } = await consoleOf({ kernel, memory: '16M', accel: { kernelIrqchip } })
      t.is(text, LEFT, format)
      t.is(exit.reason, 'guest-reset')
    }
  })
}

test('a reset restores what firmware leaves', async t => {
  t.timeout(120_000)
  for (const kernelIrqchip of modes) {
    await using machine = await Machine.create({
      kernel: guestImage('platform'),
      memory: '16M',
      accel: { kernelIrqchip },
      serial: 'stream',
    })
    await machine.start()
    let text = ''
    for await (const chunk of machine.serial) {
      text += String(chunk)
      if (text.length >= 3 * LEFT.length) break
    }
    t.is(text.slice(0, 3 * LEFT.length), LEFT.repeat(3), kernelIrqchip)
  }
})

/** Sets PIC and PIT up for a tick each millisecond, and halts until the tick's handler has counted three. */
const COUNT_TICKS = [
  // mov al, value; out port, al: ICW1 to ICW4 and the mask of the master PIC, then mode 2 and 1193 ticks.
  ...[0xb0, 0x11, 0xe6, 0x20, 0xb0, 0x08, 0xe6, 0x21, 0xb0, 0x04, 0xe6, 0x21, 0xb0, 0x01, 0xe6, 0x21],
  ...[0xb0, 0xfe, 0xe6, 0x21, 0xb0, 0x34, 0xe6, 0x43, 0xb0, 0xa9, 0xe6, 0x40, 0xb0, 0x04, 0xe6, 0x40],
  // sti; again: hlt; cmp byte [0x46c], 3; jb again
  ...[0xfb, 0xf4, 0x80, 0x3e, 0x6c, 0x04, 0x03, 0x72, 0xf8],
  // mov al, 3; out 0xf4, al; hlt
  ...[0xb0, 0x03, 0xe6, 0xf4, 0xf4],
]

test('in real mode, the handler of the tick counts and acknowledges', async t => {
  t.timeout(120_000)
  for (const kernelIrqchip of modes) {
    const kernel = Uint8Array.from(COUNT_TICKS)
    const { exit } = await consoleOf({
      kernel,
      kernelFormat: 'flat',
      debugExit: { iobase: 0xf4, iosize: 4 },
      accel: { kernelIrqchip },
    })
    t.deepEqual(exit, { reason: 'debug-exit', status: 7 }, kernelIrqchip)
  }
})

for (const [way, register] of [
  [1, 'control A 0x2'],
  [2, 'reset control 0x0'],
  [3, 'reset control 0x2'],
  [4, 'output port 0x3'],
] as const) {
  test(`a guest resets the machine by way ${way} (${register}), and noReboot makes that the end`, async t => {
    t.timeout(120_000)
    const options = { kernel: guestImage('platform'), memory: '16M', append: `way=${way}` }
    const { text, exit } = await consoleOf(options)
    t.is(text, `${LEFT}${register}\n`)
    t.deepEqual(exit, { reason: 'guest-reset' })

    await using machine = await Machine.create(options)
    const resets = new Promise<void>(resolve => machine.once('reset', () => resolve()))
    await machine.start()
    await resets
    t.is(machine.state, 'running')
  })
}

test('the BIOS data area lists the serial ports that exist', async t => {
  const serials = [null, 'null', null, 'null'] as const
  await using machine = await Machine.create({ kernel: guestImage('hello'), memory: '16M', serials })
  const area = Buffer.from(await machine.debug.readMemory(0x400, 0x12))
  t.deepEqual(
    [0, 2, 4, 6].map(at => area.readUInt16LE(at)),
    [0x2f8, 0x2e8, 0, 0],
  )
  t.is((area.readUInt16LE(0x10) >> 9) & 7, 2)
})

for (const kernelIrqchip of modes) {
  test(`an HPET replaces the PIT and the CMOS clock, with kernel-irqchip=${kernelIrqchip}`, async t => {
    t.timeout(120_000)
    const { text } = await consoleOf({
      kernel: guestImage('hpet'),
      memory: '16M',
      hpet: true,
      accel: { kernelIrqchip },
    })
    t.is(
      text,
      `capabilities 0x8086a201
period 0x989680
counter 0x3e8
the counter counts
the PIT ticks
the PIT stands
timer 0 ticks at 0x8
timer 1 interrupts at 0x70
the PIT ticks again
`,
    )
  })
}

test('without the option there is no HPET', async t => {
  await using machine = await Machine.create({ kernel: guestImage('hpet'), memory: '16M', serial: 'stream' })
  await machine.start()
  let text = ''
  for await (const chunk of machine.serial) {
    text += String(chunk)
    if (text.includes('\n')) break
  }
  t.regex(text, /^capabilities 0xffffffff\n/)
})

withLinux('Linux reads from 32 disks without ACPI, some of which share lines', async t => {
  t.timeout(600_000)
  const folder = await mkdtemp(join(tmpdir(), 'kvm-accel-disks-'))
  const disks = Array.from({ length: 32 }, (_, index) => join(folder, `${index}.img`))
  await Promise.all(disks.map((path, index) => writeFile(path, `disk ${index}\n`.padEnd(4096, '\0'))))
  const guest = linuxGuest('for disk in /dev/vd*; do read -r line < $disk; echo "read $line"; done')
  const { text } = await consoleOf({ ...guest, disks: disks.map(path => ({ path, format: 'raw' as const })) })
  const read = [...text.matchAll(/^read disk (\d+)\r?$/gm)].map(([, index]) => Number(index))
  t.deepEqual(
    read.toSorted((a, b) => a - b),
    disks.map((_, index) => index),
    text,
  )
})

beside('the same guests print the same under QEMU', async t => {
  t.timeout(300_000)
  const argv = ['-nodefaults', '-vnc', 'none', '-serial', 'stdio', '-M', 'pc,accel=kvm', '-m', '16M', '-no-reboot']
  const guests = [...[1, 2, 3, 4].map(way => ['platform', `way=${way}`] as const), ['hpet', ''] as const]
  for (const [name, append] of guests) {
    const guest = ['-machine', 'hpet=on', '-kernel', guestFile(name, 'multiboot'), '-append', append]
    const theirs = await start('qemu-system-x86_64', [...argv, ...guest]).finished
    const ours = await start(process.execPath, [cli, 'run', ...argv, ...guest]).finished
    t.is(ours.stdout, theirs.stdout, theirs.stderr + ours.stderr)
    t.is(ours.status, theirs.status)
  }
})
