// Opens a stream between Node.js and a Linux guest: node --import=tsx examples/vsock.ts KERNEL INITRD
// The guest's init listens on port 7 of AF_VSOCK and sends received bytes back, as `socat VSOCK-LISTEN:7,fork EXEC:cat` does.

import { once } from 'node:events'
import { Machine } from 'kvm-accel'

const [kernel = 'vmlinux', initrd = 'initrd.cpio'] = process.argv.slice(2)

await using machine = await Machine.create({
  kernel,
  initrd,
  append: 'console=ttyS0 reboot=t panic=-1 tsc=reliable no_timer_check quiet',
  vsock: { cid: 3 },
})
await machine.start()

// The guest refuses connections until it listens: this waits for it.
const stream = await machine.vsock.connect(7, { allowHalfOpen: true, timeout: 300_000 })
stream.on('data', text => process.stdout.write(text))
stream.write('Hello, ')
stream.end('guest.\n')
await once(stream, 'end')
