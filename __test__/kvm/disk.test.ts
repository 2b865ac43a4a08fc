import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Machine, MachineConfigError, guestImage, type DiskOptions } from 'kvm-accel'
import { scratch } from '../helpers/paths.js'
import { kvm, linux, requires } from '../helpers/requires.js'

const test = requires(kvm)
const linuxTest = requires(kvm, linux)

/** Keeps the boot of the test kernel short; `reboot=t` is a triple fault. */
const append =
  'console=ttyS0 reboot=t panic=-1 tsc=reliable no_timer_check rodata=off noreplace-smp norandmaps percpu_alloc=page quiet doreboot'

let images = 0

/** An image whose first sector says `text`. */
const image = (text: string, size = 1 << 20): string => {
  const path = join(scratch(), `disk-${process.pid}-${++images}.img`)
  const bytes = Buffer.alloc(size)
  bytes.write(text)
  writeFileSync(path, bytes)
  return path
}

/** Boots Linux with these disks, until it reboots: what its init printed. */
const boot = async (disks: readonly DiskOptions[]): Promise<string> => {
  await using machine = await Machine.create({
    kernel: process.env['KVM_ACCEL_TEST_KERNEL'] ?? '',
    initrd: process.env['KVM_ACCEL_TEST_INITRD'] ?? '',
    memory: '64M',
    append,
    serial: 'stream',
    noReboot: true,
    disks,
  })
  const chunks: Buffer[] = []
  machine.serial.on('data', (chunk: Buffer) => chunks.push(chunk))
  await machine.start()
  await machine.wait()
  return Buffer.concat(chunks).toString()
}

/** What init wrote at 4096. */
const written = Buffer.from(Array.from({ length: 4096 }, (_, at) => 65 + (at % 26)))

linuxTest('Linux reads and writes a disk, and what it wrote is in the image', async t => {
  t.timeout(600_000)
  const path = image('the first sector')
  const output = await boot([{ path, serial: 'one' }])
  t.regex(output, /^INIT: sector0=the first sector/m)
  t.regex(output, /^INIT: fsync=0/m)
  t.regex(output, /^INIT: ok=1/m)
  t.deepEqual(readFileSync(path).subarray(4096, 8192), written)
})

linuxTest('A disk for reading is not written, and may be shared', async t => {
  t.timeout(600_000)
  const path = image('read only')
  const disk = { path, readOnly: true } as const
  const output = await boot([disk, disk])
  t.regex(output, /^INIT: sector0=read only/m)
  t.regex(output, /^INIT: pwrite=-1/m)
  t.is(readFileSync(path).subarray(4096).indexOf(65), -1)
})

test('An image is written by one machine at a time', async t => {
  const path = image('')
  const options = { kernel: guestImage('hello'), memory: '16M', disks: [{ path }] } as const
  const machine = await Machine.create(options)
  const error = await t.throwsAsync(Machine.create(options), { instanceOf: MachineConfigError })
  t.regex(error?.message ?? '', /in use by a machine/)
  t.is(error?.option, 'disks')
  const reading = { ...options, disks: [{ path, readOnly: true }] }
  await t.throwsAsync(Machine.create(reading), { message: /being written by another machine/ })
  await machine[Symbol.asyncDispose]()
  await using readers = await Machine.create(reading)
  t.truthy(readers)
})
