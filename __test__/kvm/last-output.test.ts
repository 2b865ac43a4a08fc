// What a program has of a machine when `wait()` or `stop()` has resolved: all output, ended streams,
// and nothing that is still in use.

import { once } from 'node:events'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { finished, pipeline } from 'node:stream/promises'
import { text } from 'node:stream/consumers'
import { Machine, guestImage, type MachineOptions } from 'kvm-accel'
import { freePort } from '../helpers/free-port.js'
import { scratch } from '../helpers/paths.js'
import { kvm, requires } from '../helpers/requires.js'
import { baseline, settled } from '../helpers/resources.mjs'

const test = requires(kvm)

const make = (guest: string, options: Partial<MachineOptions> = {}): Promise<Machine> =>
  Machine.create({ kernel: guestImage(guest), memory: '16M', noReboot: true, serial: 'stream', ...options })

/** Blocks the event loop, so that output and the end of the machine arrive in the same turn. */
const block = (milliseconds: number): void => {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds)
}

/** An injected notify exit then ends the guest in `internal-error` on every host. */
const failsOnNotify: Partial<MachineOptions> = { accel: 'kvm,notify-vmexit=internal-error' }

test('wait() resolves after all output of the guest has been emitted', async t => {
  for (let round = 0; round < 60; round++) {
    const machine = await make('serial-flood', { append: 'count=5' })
    let lines = 0
    machine.serial.on('data', (bytes: Buffer) => (lines += String(bytes).split('\n').length - 1))
    await machine.start()
    if (round % 2 === 0) block(30)
    await machine.wait()
    t.true(lines >= 5, `${lines} lines in round ${round}`)
  }
})

test('the stream ends and closes after each kind of end, however it is read', async t => {
  const ends: Record<string, (signal: AbortController) => Promise<Machine>> = {
    shutdown: async () => make('hello'),
    'internal-error': async () => make('spin', failsOnNotify),
    stop: async () => make('spin'),
    abort: async ({ signal }) => make('spin', { signal }),
  }
  const readers: Record<string, (machine: Machine) => Promise<unknown>> = {
    'for await': ({ serial }) => text(serial),
    finished: ({ serial }) => finished(serial.resume()),
    pipeline: ({ serial }) => pipeline(serial, async source => text(source)),
    toWeb: async ({ serial }) => {
      for await (const _ of Readable.toWeb(serial));
    },
    close: ({ serial }) => once(serial.resume(), 'close'),
  }
  for (const [kind, create] of Object.entries(ends)) {
    for (const [reader, read] of Object.entries(readers)) {
      const aborter = new AbortController()
      const machine = await create(aborter)
      const over = read(machine)
      await machine.start()
      if (kind === 'stop') await machine.stop()
      if (kind === 'abort') aborter.abort()
      if (kind === 'internal-error') await machine.injectNotify()
      t.is((await machine.wait()).reason === 'internal-error', kind === 'internal-error')
      await t.notThrowsAsync(over, `${reader} after ${kind}`)
      await machine.stop()
    }
  }
})

test('output that is read only after the end of the machine is complete, and the stream then closes', async t => {
  const machine = await make('serial-flood', { append: 'count=500' })
  await machine.start()
  await machine.wait()
  const all = await text(machine.serial)
  t.true(all.split('\n').length > 500)
  t.true(machine.serial.closed)
})

test('a late end() with a chunk passes an error to its callback, and the output stays readable', async t => {
  const machine = await make('hello')
  await machine.start()
  await machine.wait()
  const { serial } = machine
  const error = await new Promise<unknown>(resolve => void serial.end('late', resolve))
  t.like(error, { code: 'ERR_MACHINE_STATE', message: 'end() to a port is not possible: the machine has ended' })
  t.is(serial.end('late'), serial)
  t.regex(await text(serial), /Goodbye/)
})

test('a stream of another target ends and closes, too', async t => {
  const machine = await make('hello', { serial: 'null', consoles: [{ target: 'null' }, { target: 'stream' }] })
  const closed = [machine.serial, ...machine.consoles].map(port => finished(port.resume()))
  await machine.start()
  await machine.wait()
  await t.notThrowsAsync(Promise.all(closed))
})

test('a reader that pauses delays wait() only for a limited time, and gets the rest later', async t => {
  const machine = await make('hello')
  machine.serial.on('data', () => {}).pause()
  await machine.start()
  await machine.wait()
  t.regex(await text(machine.serial), /Goodbye/)
})

test('a write after the end passes an error to its callback and loses no unread output', async t => {
  for (const guest of ['hello', 'emulation-failure']) {
    const machine = await make(guest, { consoles: [{ target: 'stream' }] })
    await machine.start()
    await machine.wait()
    for (const port of [machine.serial, machine.consoles[0]!]) {
      const error = await new Promise(resolve => port.write('late', resolve))
      t.like(error, { code: 'ERR_MACHINE_STATE' })
    }
    if (guest === 'hello') t.regex(await text(machine.serial), /Goodbye/)
    await machine.stop()
  }
})

test('a machine that is reset after internal-error has new streams', async t => {
  const machine = await make('serial-flood', failsOnNotify)
  for (let round = 0; round < 3; round++) {
    const { serial } = machine
    const output = text(serial)
    const written = once(serial, 'data')
    await machine.start()
    await written
    await machine.injectNotify()
    t.is((await machine.wait()).reason, 'internal-error')
    t.true((await output).length > 0, `round ${round}`)
    await machine.reset()
    t.not(machine.serial, serial)
    t.is(machine.serials[0], machine.serial)
  }
  await machine.stop()
})

test('machines whose output is not read keep no descriptor, no thread and no mapping', async t => {
  const mappings = () => readFileSync('/proc/self/maps', 'utf8').split('\n').length
  const ended: Machine[] = []
  const run = async () => {
    const machine = await make('hello', { consoles: [{ target: 'stream' }] })
    await machine.start()
    await machine.wait()
    ended.push(machine)
  }
  for (let round = 0; round < 10; round++) await run()
  const before = await baseline()
  const mapped = mappings()
  for (let round = 0; round < 100; round++) await run()
  t.deepEqual(await settled(before), before)
  t.true(mappings() < mapped + 50, `${mappings()} mappings after ${mapped}`)
  t.is(ended.length, 110)
})

for (const end of ['wait', 'stop'] as const) {
  test(`after ${end}() the next machine has the same disk and the same socket at once`, async t => {
    const disk = join(scratch(), `${end}.img`)
    const socket = join(scratch(), `${end}-com1`)
    writeFileSync(disk, Buffer.alloc(1 << 20))
    const port = await freePort()
    for (let round = 0; round < 80; round++) {
      const machine = await make('hello', {
        serial: round % 2 === 0 ? { socket, server: true } : { socket: { host: '127.0.0.1', port }, server: true },
        disks: [{ path: disk, format: 'raw' }],
      })
      await machine.start()
      await machine[end]()
      t.false(existsSync(socket))
    }
  })
}
