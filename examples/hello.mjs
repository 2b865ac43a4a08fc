// Boots the embedded guest and prints its exit reason, exit counts and timing. `npm start` runs this program.
import { KvmAccelError, Machine, guestImage } from 'kvm-accel'

const line = (name, value) => console.log(`  ${name.padEnd(20)} ${value}`)

try {
  const machine = await Machine.create({ kernel: guestImage('hello'), memory: '16M', serial: 'stream', noReboot: true })
  machine.on('warning', ({ message }) => console.error(`warning: ${message}`))

  const start = performance.now()
  await machine.start()
  let firstByte
  for await (const chunk of machine.serial) {
    firstByte ??= performance.now() - start
    process.stdout.write(chunk)
  }
  const exit = await machine.wait()

  const exits = Object.entries(machine.counters().exits).filter(([, count]) => count > 0)
  const { policy, window, supported, enabled } = machine.accel.notify
  console.log()
  line('exit reason', exit.reason)
  line('exits by kind', exits.map(([kind, count]) => `${kind} ${count}`).join(', '))
  line('first byte', `${firstByte?.toFixed(1)} ms after start()`)
  line('notify policy', `${policy}, window ${window}`)
  line('notify on this host', `${supported ? 'supported' : 'not supported'}, ${enabled ? 'enabled' : 'not enabled'}`)
} catch (error) {
  if (!(error instanceof KvmAccelError)) throw error
  console.error(`kvm-accel: error: ${error.message}`)
  if (error.remedy) console.error(`  ${error.remedy}`)
  process.exitCode = 1
}
