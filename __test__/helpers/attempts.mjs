// A process of the fault tests. Runs the same machine twice, as a program that survives a failure
// would, and prints the result of each run. The interposer chooses the call that fails. Plain
// JavaScript, because it is started often.

import { Machine, guestImage } from 'kvm-accel'
import { baseline, settled } from './resources.mjs'

// The event loop opens descriptors of its own with the first stream.
process.stdout.write('')

const kernel = guestImage('smp')

/**
 * Runs the machine once. The first machine of a process creates resources that the process keeps,
 * and `before` includes them.
 */
const attempt = async () => {
  const warnings = []
  let machine
  try {
    machine = await Machine.create({ memory: '8M', cpus: 2, kernel, append: 'cpus=2', serial: 'null', noReboot: true })
    machine.on('warning', ({ code }) => warnings.push(code))
    await machine.start()
    const { reason, detail } = await machine.wait()
    return { reason, detail, warnings }
  } catch (error) {
    const { name, code, ioctl, errnoName, capability, message } = error
    return { error: { name, code, ioctl, errnoName, capability, message, ours: error instanceof Error } }
  } finally {
    await machine?.stop()
  }
}

const before = await baseline()
const first = await attempt()
const after = await settled(before)
const second = await attempt()
const end = await settled(before)
process.stdout.write(JSON.stringify({ first, second, before, after, end }))
