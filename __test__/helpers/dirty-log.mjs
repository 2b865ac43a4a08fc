// A machine with an accelerator from the command line whose guest writes pages: how many were seen, and what was warned of. Plain
// JavaScript, so that it runs under the interposer without a loader's threads.
import { once } from 'node:events'
import { Machine, guestImage } from 'kvm-accel'

const machine = await Machine.create({
  accel: process.argv[2],
  kernel: guestImage('dirty'),
  memory: '16M',
  append: 'wait=1 count=300',
  serial: 'stream',
})
const warnings = []
machine.on('warning', ({ code }) => warnings.push(code))
await machine.dirtyLog.start()
await machine.start()
for (let seen = ''; !seen.includes('written');) seen += String((await once(machine.serial, 'data'))[0])
const take = () =>
  machine.dirtyLog.take().catch(error => {
    process.stdout.write(`${error.ioctl} `)
    return take()
  })
const pages = [...(await take())].filter(({ start }) => start >= 4 << 20 && start < 8 << 20)
process.stdout.write(`${pages.reduce((sum, { length }) => sum + length / 4096, 0)} pages, warnings: ${warnings.join()}`)
await machine.stop()
