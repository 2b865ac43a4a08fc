import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Machine, guestImage } from 'kvm-accel'
import { append, guestFile, initramfs } from '../helpers/linux-guest.js'
import { cli, scratch } from '../helpers/paths.js'
import { emptyQcow2 } from '../helpers/qcow2.js'
import { Qmp } from '../helpers/qmp.js'
import { kvm, linux, qemu, qemuImg, qemuImgPath, requires } from '../helpers/requires.js'
import { run, start } from '../helpers/spawn.js'

const test = requires(kvm, linux, qemu, qemuImg)
const lockTest = requires(kvm, qemu)

const lines = (stdout: string): string => stdout.replaceAll('\r', '')

let files = 0

const file = (name: string, contents: string | Uint8Array): string => {
  const path = join(scratch(), `${process.pid}-${++files}-${name}`)
  writeFileSync(path, contents)
  return path
}

/**
 * Prints the disks that Linux finds, and the results of using them. Starts few processes, because
 * each takes long in the guest.
 */
const script = `
mount -t sysfs sys /sys
for disk in vda vdb vdc; do
  cd /sys/block/$disk
  for fact in size ro serial queue/logical_block_size queue/physical_block_size queue/minimum_io_size queue/optimal_io_size \\
    queue/max_segments queue/write_cache queue/discard_max_bytes queue/write_zeroes_max_bytes cache_type; do
    value=; read value < $fact; echo "$disk $fact $value"
  done
done
for disk in vda vdb; do
  echo $disk was written | dd of=/dev/$disk bs=512 seek=3 conv=fsync 2> /dev/null
  blkdiscard -o 1048576 -l 1048576 /dev/$disk && echo $disk discarded
  dd if=/dev/$disk bs=512 skip=3 count=1 2> /dev/null | head -n 1
done
dd if=/dev/zero of=/dev/vdc bs=512 count=1 2> /dev/null || echo vdc not written
head -n 1 /dev/vdc
for disk in vdd vde; do
  read size < /sys/block/$disk/size; echo "$disk size $size"
  printf 'QFI\\373\\0\\0\\0\\3' | dd of=/dev/$disk bs=512 conv=sync,fsync 2> /dev/null || echo $disk not written
  dd if=/dev/$disk bs=512 count=1 iflag=direct 2> /dev/null | head -c 4 | od -c
done
`

lockTest('QEMU refuses an image that kvm-accel writes, and kvm-accel one that QEMU writes', async t => {
  const path = file('shared.img', Buffer.alloc(1 << 20))
  const options = { kernel: guestImage('hello'), memory: '16M', disks: [{ path }] } as const
  const drive = ['-drive', `file=${path},format=raw,if=none,id=one`, '-device', 'virtio-blk-device,drive=one']
  const qemu = ['-M', 'microvm,accel=tcg', '-nodefaults', '-display', 'none', '-S', ...drive, '-monitor']
  const ours = await Machine.create(options)
  const refused = await run('qemu-system-x86_64', [...qemu, 'stdio'], { limit: 60, input: 'quit\n' })
  t.regex(refused.stderr, /Failed to get "write" lock/)
  await ours[Symbol.asyncDispose]()
  const socket = join(scratch(), `lock-${process.pid}`)
  // QEMU sends its greeting once all devices exist.
  const greeted = new Promise<Qmp>(resolve => void new Qmp(socket, resolve))
  const theirs = start('qemu-system-x86_64', [...qemu, 'none', '-qmp', `unix:${socket}`])
  const monitor = await greeted
  await t.throwsAsync(Machine.create(options), { code: 'ERR_MACHINE_CONFIG', message: /in use by|being written/ })
  monitor.close()
  theirs.child.kill()
  await theirs.finished
})

test('Linux finds the same disks as under QEMU with the same argv, and leaves the same bytes on them', async t => {
  t.timeout(900_000)
  const initrd = file('initrd', initramfs(script))
  const [ours, theirs] = await Promise.all(
    [
      [process.execPath, cli, 'run'],
      ['qemu-system-x86_64', '-nodefaults', '-no-user-config'],
    ].map(async ([command = '', ...first]) => {
      const raw = file('raw.img', Buffer.alloc(8 << 20))
      const qcow2 = file('disk.qcow2', emptyQcow2(64 << 20))
      const detected = [file('detected.img', Buffer.alloc(8 << 20)), file('detected.qcow2', emptyQcow2(64 << 20))]
      const other = file('read-only.img', `${'read only\n'.padEnd(2048)}`)
      const argv = [
        ...['-M', 'microvm,acpi=off,rtc=off', '-accel', 'kvm', '-m', '128M', '-display', 'none', '-no-reboot'],
        ...['-kernel', guestFile('vmlinux-net'), '-initrd', initrd, '-append', append, '-serial', 'stdio'],
        ...['-drive', `file=${raw},format=raw,if=none,id=one`],
        ...['-device', 'virtio-blk-device,drive=one,serial=number-one'],
        ...['-drive', `file=${qcow2},format=qcow2,if=none,id=two`, '-device', 'virtio-blk-device,drive=two'],
        ...['-drive', `file=${other},format=raw,if=none,id=three,readonly=on`],
        ...['-device', 'virtio-blk-device,drive=three'],
        // Without format=, a guest's write that would change the detected format fails.
        ...detected.flatMap((path, at) => [
          ...['-drive', `file=${path},if=none,id=detected${at}`, '-device', `virtio-blk-device,drive=detected${at}`],
        ]),
      ]
      const finished = await run(command, [...first, ...argv], { limit: 600 })
      for (const path of [qcow2, detected[1] ?? '']) {
        const checked = await run(qemuImgPath(), ['check', path], { limit: 60 })
        t.regex(checked.stdout, /No errors were found/, checked.stderr)
      }
      return { ...finished, raw: readFileSync(raw) }
    }),
  )
  t.is(ours?.status, 0, ours?.stderr)
  t.is(theirs?.status, 0, theirs?.stderr)
  t.regex(ours?.stdout ?? '', /vdb size 131072/)
  t.regex(ours?.stdout ?? '', /vdd not written/)
  t.regex(ours?.stdout ?? '', /vde size 131072/)
  t.is(lines(ours?.stdout ?? ''), lines(theirs?.stdout ?? ''))
  t.true(ours?.raw.equals(theirs?.raw ?? Buffer.alloc(0)))
})
