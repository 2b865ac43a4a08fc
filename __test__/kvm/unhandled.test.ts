import { Machine, guestImage, type MachineOptions } from 'kvm-accel'
import { kvm, requires } from '../helpers/requires.js'

const test = requires(kvm)

const options: MachineOptions = { kernel: guestImage('spin'), memory: '16M' }

/** Operations whose promises the program ignores. */
const operations: Record<string, (machine: Machine) => unknown> = {
  start: machine => machine.start(),
  pause: machine => machine.pause(),
  reset: machine => machine.reset(),
  injectNotify: machine => machine.injectNotify(),
  'debug.step': machine => machine.debug.step(),
  'debug.readMemory': machine => machine.debug.readMemory(0, 1 << 20, { physical: true }),
  'debug.writeMemory': machine => machine.debug.writeMemory(0, new Uint8Array(1 << 23), { physical: true }),
  'debug.insertBreakpoint': machine => machine.debug.insertBreakpoint({ type: 'hardware', address: 0x1000 }),
  'debug.removeBreakpoint': machine => machine.debug.removeBreakpoint({ type: 'hardware', address: 0x1000 }),
  'debug.clear': machine => machine.debug.clear(),
  'vcpu.state': machine => machine.vcpus[0]!.state(),
  'vcpu.setState': machine => machine.vcpus[0]!.setState({ general: { rax: 1n } }),
  'vcpu.setState, with calls behind it': machine => {
    void machine.vcpus[0]!.setState({ general: { rax: 1n } })
    void machine.debug.clear()
    void machine.start()
  },
  'dirtyLog.start': machine => machine.dirtyLog.start(),
  'dirtyLog.stop': machine => machine.dirtyLog.stop(),
  'dirtyLog.take': machine => machine.dirtyLog.take(),
  'dirtyLog.rates': machine => machine.dirtyLog.rates(),
  addDevice: machine => machine.addDevice({ pio: [0x550, 2], read: () => 0 }),
}

test('an operation that stop() overtakes causes no unhandled rejection', async t => {
  const unhandled: unknown[] = []
  const note = (reason: unknown) => void unhandled.push(reason)
  process.on('unhandledRejection', note)
  try {
    for (const runs of [false, true]) {
      for (const [name, operation] of Object.entries(operations)) {
        const machine = await Machine.create(options)
        if (name === 'dirtyLog.take' || name === 'dirtyLog.rates') await machine.dirtyLog.start()
        if (runs) await machine.start()
        operation(machine)
        await machine.stop()
        await new Promise(resolve => setImmediate(resolve))
        t.deepEqual(unhandled.splice(0), [], `${name} of a machine that ${runs ? 'runs' : 'has not run'}`)
      }
    }
  } finally {
    process.off('unhandledRejection', note)
  }
})
