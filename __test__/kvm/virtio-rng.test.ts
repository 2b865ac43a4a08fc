import { Machine } from 'kvm-accel'
import { linuxGuest } from '../helpers/linux-guest.js'
import { kvm, linux, requires } from '../helpers/requires.js'

const test = requires(kvm, linux)

test('Linux reads random bytes from the host at the rate of the limit', async t => {
  t.timeout(300_000)
  // Constant bytes, so that the guest's output shows their source.
  const guest = linuxGuest(`
echo bytes:
od -A n -t x1 -N 16 /dev/hwrng
echo before:
cat /proc/uptime
head -c 3000 /dev/hwrng > /dev/null
echo after:
cat /proc/uptime
grep -q virtio0 /proc/interrupts && echo interrupts`)
  await using machine = await Machine.create({ ...guest, rng: { source: '/dev/zero', maxBytes: 1000, period: 1000 } })
  await machine.start()
  let text = ''
  for await (const chunk of machine.serial) text += String(chunk)
  t.regex(text, /^bytes:\r?\n( 00){16}\r?$/m)
  t.regex(text, /^interrupts\r?$/m)
  const seconds = (name: string): number => Number(new RegExp(`^${name}:\\s+([\\d.]+)`, 'm').exec(text)?.[1])
  t.true(seconds('after') - seconds('before') > 1.5, text)
  t.is((await machine.wait()).reason, 'guest-reset')
})
