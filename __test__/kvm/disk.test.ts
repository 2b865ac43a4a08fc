import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Machine, MachineConfigError, guestImage, type DiskOptions } from 'kvm-accel'
import { append, guestFile, initramfs } from '../helpers/linux-guest.js'
import { cli, scratch } from '../helpers/paths.js'
import { emptyQcow2, placeInQcow2 } from '../helpers/qcow2.js'
import { kvm, linux, requires } from '../helpers/requires.js'
import { start } from '../helpers/spawn.js'

const test = requires(kvm)
const linuxTest = requires(kvm, linux)

let images = 0

/** Creates an image whose first sector begins with `text`. */
const image = (text: string, size = 1 << 20): string => {
  const path = join(scratch(), `disk-${process.pid}-${++images}.img`)
  const bytes = Buffer.alloc(size)
  bytes.write(text)
  writeFileSync(path, bytes)
  return path
}

/** Boots Linux with these disks, until it reboots. Returns what its init printed. */
const boot = async (disks: readonly DiskOptions[]): Promise<string> => {
  await using machine = await Machine.create({
    kernel: process.env['KVM_ACCEL_TEST_KERNEL'] ?? '',
    initrd: process.env['KVM_ACCEL_TEST_INITRD'] ?? '',
    memory: '64M',
    append: `${append} doreboot`,
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

/** The bytes that init wrote at 4096. */
const written = Buffer.from(Array.from({ length: 4096 }, (_, at) => 65 + (at % 26)))

linuxTest('Linux reads and writes a disk, and its data is in the image', async t => {
  t.timeout(600_000)
  const path = image('the first sector')
  const output = await boot([{ path, serial: 'one' }])
  t.regex(output, /^INIT: sector0=the first sector/m)
  t.regex(output, /^INIT: fsync=0/m)
  t.regex(output, /^INIT: ok=1/m)
  t.deepEqual(readFileSync(path).subarray(4096, 8192), written)
})

linuxTest('a read-only disk is not written, and may be shared', async t => {
  t.timeout(600_000)
  const path = image('read only')
  const disk = { path, readOnly: true } as const
  const output = await boot([disk, disk])
  t.regex(output, /^INIT: sector0=read only/m)
  t.regex(output, /^INIT: pwrite=-1/m)
  t.is(readFileSync(path).subarray(4096).indexOf(65), -1)
})

test('only one machine at a time may write an image', async t => {
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

/** Creates a machine with these disks, and returns the codes of its warnings. */
const warnings = async (disks: readonly DiskOptions[]): Promise<string[]> => {
  await using machine = await Machine.create({ kernel: guestImage('hello'), memory: '16M', disks })
  const codes: string[] = []
  machine.on('warning', ({ code }) => codes.push(code))
  // Messages arrive in order: the warnings of the creation precede the reply.
  await machine.start()
  return codes
}

test('a format that is not stated is detected: qcow2, raw with a warning, or an error with the way to convert', async t => {
  const path = image('')
  writeFileSync(path, emptyQcow2(64 << 20))
  t.deepEqual(await warnings([{ path }]), [])
  const raw = image('a raw disk')
  t.deepEqual(await warnings([{ path: raw }]), ['DISK_FORMAT_DETECTED'])
  t.deepEqual(await warnings([{ path: raw, readOnly: true }]), [])
  for (const [magic, name] of [
    ['KDMV', 'VMDK'],
    ['vhdxfile', 'VHDX'],
    ['LUKS\u00ba\u00be', 'LUKS'],
  ] as const) {
    const foreign = image('')
    writeFileSync(foreign, Buffer.from(magic.padEnd(1024, '\0'), 'latin1'))
    const error = await t.throwsAsync(warnings([{ path: foreign }]), {
      instanceOf: MachineConfigError,
      message: new RegExp(`begins or ends like a ${name} image`),
    })
    t.regex(error?.remedy ?? '', /qemu-img convert -O qcow2/)
    t.deepEqual(await warnings([{ path: foreign, format: 'raw' }]), [])
  }
})

test('an encrypted qcow2 image is refused, also as a backing file', async t => {
  const path = image('')
  const encrypted = emptyQcow2(64 << 20)
  encrypted.writeUInt32BE(2, 32)
  writeFileSync(path, encrypted)
  const overlay = image('')
  const over = emptyQcow2(64 << 20)
  over.write(path, 512)
  over.writeBigUInt64BE(512n, 8)
  over.writeUInt32BE(path.length, 16)
  writeFileSync(overlay, over)
  const message = /is an encrypted qcow2 image \(LUKS\)/
  await t.throwsAsync(warnings([{ path, format: 'qcow2' }]), { code: 'ERR_MACHINE_CONFIG', message })
  await t.throwsAsync(warnings([{ path: overlay, readOnly: true }]), { code: 'ERR_MACHINE_CONFIG', message })
})

linuxTest('flushed data survives kill -9, in a raw image and in qcow2', async t => {
  t.timeout(600_000)
  const raw = image('')
  const qcow2 = image('')
  writeFileSync(qcow2, emptyQcow2(64 << 20))
  const initrd = join(scratch(), `initrd-${process.pid}`)
  const script = `
for disk in vda vdb; do
  echo the last words > /words
  dd if=/words of=/dev/$disk bs=512 seek=300 conv=fsync 2> /dev/null
done
echo flushed
sleep 100000`
  writeFileSync(initrd, initramfs(script))
  const argv = [
    ...['run', '-M', 'microvm', '-m', '64M', '-kernel', guestFile('vmlinux-tiny'), '-initrd', initrd],
    ...['-append', append, '-serial', 'stdio', '-display', 'none'],
    ...['-drive', `file=${raw},format=raw,if=none,id=one`, '-device', 'virtio-blk-device,drive=one'],
    ...['-drive', `file=${qcow2},format=qcow2,if=none,id=two`, '-device', 'virtio-blk-device,drive=two'],
  ]
  const { child, finished } = start(process.execPath, [cli, ...argv], { limit: 500 })
  let output = ''
  child.stdout?.on('data', (text: string) => {
    output += text
    if (/^flushed/m.test(output)) child.kill('SIGKILL')
  })
  const { status, stderr, stdout } = await finished
  t.is(status, null, stderr)
  t.regex(stdout, /^flushed/m, stderr)
  const textAt = (bytes: Buffer, at: number | undefined): string => bytes.toString('latin1', at, (at ?? 0) + 14)
  t.is(textAt(readFileSync(raw), 300 * 512), 'the last words')
  const bytes = readFileSync(qcow2)
  t.is(textAt(bytes, placeInQcow2(bytes, 300 * 512)), 'the last words')
})
