// Tests the virtio console from inside a Linux guest.

import { Machine } from 'kvm-accel'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { append, guestFile, initramfs, linuxGuest } from '../helpers/linux-guest.js'
import { cli, scratch } from '../helpers/paths.js'
import { kvm, linux, requires } from '../helpers/requires.js'
import { Seat } from '../helpers/terminal.js'

const test = requires(kvm, linux)

test('a guest uses a terminal and a named channel', async t => {
  t.timeout(600_000)
  const guest = linuxGuest(
    `
exec 3<>/dev/vport0p1
echo ready >&3
read -r question <&3
echo "answer to $question" >&3
exec 4<>/dev/hvc0
echo typed please >&4
read -r typed <&4
echo "typed: $typed"
`,
  )
  await using machine = await Machine.create({
    ...guest,
    consoles: [{ target: 'stream' }, { target: 'stream', name: 'org.example.agent' }],
  })
  const [terminal, channel] = machine.consoles
  if (!terminal || !channel) return t.fail('a port is missing')
  t.deepEqual([terminal.name, channel.name], [null, 'org.example.agent'])
  const console = once(createInterface(machine.serial), 'close')
  let text = ''
  machine.serial.on('data', chunk => (text += String(chunk)))
  await machine.start()
  const lines = createInterface(channel)[Symbol.asyncIterator]()
  t.is((await lines.next()).value, 'ready')
  channel.write('a question\n')
  t.is((await lines.next()).value, 'answer to a question')
  const shown = createInterface(terminal)[Symbol.asyncIterator]()
  t.regex(String((await shown.next()).value), /typed please/)
  terminal.write('some keys\r')
  await console
  t.regex(text, /^typed: some keys\r?$/m)
  await machine.wait()
})

test('`kvm-accel run` passes keys and the size of its terminal to the guest', async t => {
  t.timeout(600_000)
  const initrd = join(scratch(), 'sizes.cpio')
  const script = `
exec 3<>/dev/hvc0
echo ready >&3
while read -r word <&3; do
  case $word in end) break;; esac
  stty -F /dev/hvc0 size >&3
done
`
  writeFileSync(initrd, initramfs(script))
  using seat = new Seat(process.execPath, [
    ...[cli, 'run', '-m', '128M', '-kernel', guestFile('vmlinux-tiny'), '-initrd', initrd, '-append', append],
    ...['-nodefaults', '-no-reboot', '-chardev', 'stdio,id=terminal', '-device', 'virtio-serial-device'],
    ...['-device', 'virtconsole,chardev=terminal'],
  ])
  await seat.type('\r', 'ready')
  await seat.see('24 80')
  seat.resize(100, 30)
  // The guest receives the size later than this process.
  while (!seat.screen.includes('30 100')) {
    await seat.type('\r', '')
    await delay(100)
  }
  const [status] = await Promise.all([seat.ended(), seat.type('end\r', '')])
  t.is(status, 0)
  t.true(seat.cooked)
})

requires(kvm)('Invalid ports are refused before the machine exists', async t => {
  const failed = (consoles: unknown) =>
    t.throwsAsync(Machine.create({ kernel: new Uint8Array(16), kernelFormat: 'flat', consoles: consoles as never }))
  const channel = { target: 'null', name: 'same' }
  for (const consoles of [
    [channel, channel],
    [{ target: 'null', name: '' }],
    [{ target: 'null', name: 'x'.repeat(65) }],
    Array.from({ length: 17 }, () => ({ target: 'null' })),
    [{ target: { file: '/nowhere/at/all' } }],
  ]) {
    t.like(await failed(consoles), { code: 'ERR_MACHINE_CONFIG', option: 'consoles' })
  }
})

requires(kvm)('An invalid size is refused, and an ended machine ignores every size and write', async t => {
  const machine = await Machine.create({
    kernel: new Uint8Array(16),
    kernelFormat: 'flat',
    consoles: [{ target: 'stream' }],
  })
  const [console] = machine.consoles
  if (!console) return t.fail('no port')
  for (const columns of [-1, 65536, 1.5, NaN])
    t.throws(() => console.resize({ columns, rows: 1 }), { code: 'ERR_ARGUMENT' })
  console.resize({ columns: 80, rows: 25 })
  const ended = once(console.resume(), 'close')
  await machine.stop()
  await ended
  console.write('ignored')
  console.resize({ columns: 80, rows: 25 })
})
