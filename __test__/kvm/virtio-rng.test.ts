import { Machine } from 'kvm-accel'
import { linuxGuest } from '../helpers/linux-guest.js'
import { kvm, linux, requires } from '../helpers/requires.js'

const test = requires(kvm, linux)

test('Linux reads random bytes from the host, at the pace of the limit', async t => {
  t.timeout(300_000)
  // Not as random as usual, so that the guest shows whose bytes it has.
  const guest = linuxGuest(`
head -c 64 /dev/hwrng | od -A n -t x1 | head -n 1 | sed 's/^/bytes:/'
cut -d ' ' -f 1 /proc/uptime | sed 's/^/before: /'
head -c 3000 /dev/hwrng > /dev/null
cut -d ' ' -f 1 /proc/uptime | sed 's/^/after: /'
grep virtio0 /proc/interrupts > /dev/null && echo interrupts`)
  await using machine = await Machine.create({ ...guest, rng: { source: '/dev/zero', maxBytes: 1000, period: 1000 } })
  await machine.start()
  let text = ''
  for await (const chunk of machine.serial) text += String(chunk)
  t.regex(text, /^bytes:( 00){16}\r?$/m)
  t.regex(text, /^interrupts\r?$/m)
  const seconds = (name: string): number => Number(new RegExp(`^${name}: ([\\d.]+)`, 'm').exec(text)?.[1])
  t.true(seconds('after') - seconds('before') > 1.5, text)
  t.is((await machine.wait()).reason, 'guest-reset')
})
