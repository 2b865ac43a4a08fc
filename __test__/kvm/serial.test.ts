import { once } from 'node:events'
import { Writable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { Machine, guestImage, type MachineOptions } from 'kvm-accel'
import { kvm, requires } from '../helpers/requires.js'

const test = requires(kvm)

const make = (guest: string, options: Partial<MachineOptions> = {}): Promise<Machine> =>
  Machine.create({ kernel: guestImage(guest), memory: '16M', noReboot: true, ...options })

test('input reaches the guest, which echoes it', async t => {
  const machine = await make('serial-echo', { serial: 'stream' })
  await machine.start()
  const sent = `${'0123456789 '.repeat(40)}q`
  machine.serial.write(sent)
  let text = ''
  for await (const chunk of machine.serial) text += String(chunk)
  t.true(text.includes(sent.slice(0, -1)), text)
})

test('input that exceeds the queue waits, and no byte is lost', async t => {
  const machine = await make('serial-echo', { serial: 'stream' })
  const sent = 'x'.repeat(65_536 + 500)
  // The guest reads no input before the start, so the queue is full and the rest waits.
  const written = new Promise<void>(resolve => machine.serial.write(sent, () => resolve()))
  machine.serial.write('q')
  await machine.start()
  let count = 0
  for await (const chunk of machine.serial) count += String(chunk).replaceAll(/[^x]/g, '').length
  await written
  t.is(count, sent.length)
})

test('a guest whose output is not read stalls alone, and can still be paused and ended', async t => {
  const flood = await make('serial-flood', { serial: 'stream' })
  await flood.start()
  // It stalls once the pipe and the stream's own buffer are full.
  let before: number | undefined
  do {
    before = flood.counters().exits['io']
    await sleep(200)
  } while (flood.counters().exits['io'] !== before)
  const other = await make('hello', { serial: 'stream' })
  await other.start()
  let text = ''
  for await (const chunk of other.serial) text += String(chunk)
  t.regex(text, /Goodbye/)
  await flood.pause()
  t.is(flood.state, 'paused')
  await flood.resume()
  flood.serial.resume()
  await sleep(100)
  t.true((flood.counters().exits['io'] ?? 0) > (before ?? 0), 'the guest continues when its output is read')
  await flood.stop()
  t.is(flood.state, 'shutdown')
})

test('a Writable receives the output', async t => {
  let text = ''
  const sink = new Writable({
    write(chunk, _encoding, done) {
      text += String(chunk)
      setImmediate(done)
    },
  })
  const machine = await make('hello', { serial: sink })
  await machine.start()
  await once(machine.serial, 'end')
  t.regex(text, /Goodbye/)
  t.false(sink.writableEnded, 'the stream stays its owner’s')
})
