// Runs a machine whose guest writes pages, with the accelerator of the command line. Prints the
// number of dirty pages that were collected, and the warnings. Plain JavaScript, so that it runs
// under the interposer without a loader's threads.
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
