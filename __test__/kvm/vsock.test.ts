import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Machine, VsockError, guestImage, type VsockStream } from 'kvm-accel'
import { scratch } from '../helpers/paths.js'
import { kvm, linux, requires } from '../helpers/requires.js'
import { command, ports, ready, vsockGuest, whole } from '../helpers/vsock-guest.js'

const test = requires(kvm, linux)
const small = requires(kvm)

/** Returns the expected answer of the guest's sink to these bytes. */
const hashed = (bytes: Uint8Array): string => {
  const hash = bytes.reduce((sum, byte) => (Math.imul(sum, 31) + byte) >>> 0, 0)
  return `${bytes.length} ${hash}\n`
}

test('connect() with a time limit waits for a guest that boots', async t => {
  t.timeout(600_000)
  await using machine = await Machine.create({ ...vsockGuest(), serial: 'null' })
  const connected = machine.vsock.connect(ports.echo, { allowHalfOpen: true, timeout: 600_000 })
  await machine.start()
  const echo = await connected
  echo.end('ping')
  t.is(String(await whole(echo)), 'ping')
  // The guest runs, and no program listens on port 8.
  const late = await t.throwsAsync(machine.vsock.connect(8, { timeout: 120 }), { instanceOf: VsockError })
  t.is(late.problem, 'timeout')
  t.is((late.cause as VsockError).problem, 'refused')
})

small('connect() with a time limit fails after it, at an abort, and at the end of the machine', async t => {
  const machine = await Machine.create({ kernel: guestImage('spin'), memory: '16M', vsock: { cid: 3 } })
  const late = await t.throwsAsync(machine.vsock.connect(1, { timeout: 20 }), { instanceOf: VsockError })
  t.is(late.problem, 'timeout')
  t.is((late.cause as VsockError).problem, 'not-ready')
  const reason = new Error('enough')
  const controller = new AbortController()
  setTimeout(() => controller.abort(reason), 20)
  t.is(await t.throwsAsync(machine.vsock.connect(1, { timeout: 60_000, signal: controller.signal })), reason)
  const ended = machine.vsock.connect(1, { timeout: 60_000 })
  await machine.stop()
  await t.throwsAsync(ended, { code: 'ERR_MACHINE_STATE' })
  await t.throwsAsync(machine.vsock.connect(1, { timeout: 0 }), { code: 'ERR_ARGUMENT' })
})

test('streams connect a Linux guest and Node.js in both directions', async t => {
  t.timeout(600_000)
  const path = join(scratch(), 'vsock')
  await using machine = await Machine.create({ ...vsockGuest(), vsock: { cid: 3, path } })
  const early = await t.throwsAsync(machine.vsock.connect(ports.echo), { instanceOf: VsockError, code: 'ERR_VSOCK' })
  t.is(early.problem, 'not-ready')
  const server = machine.vsock.listen(52, { allowHalfOpen: true })
  await machine.start()
  await ready(machine)

  // The guest reports its address on a stream that the host opens.
  t.is(await command(machine, 'a'), 'cid 3')

  // The echo ends after the host has ended its direction.
  const echo = await machine.vsock.connect(ports.echo, { allowHalfOpen: true })
  t.is(echo.guestPort, ports.echo)
  t.true(echo.hostPort >= 2 ** 30)
  echo.end('ping')
  t.is(String(await whole(echo)), 'ping')

  // A port without a listener.
  const refused = await t.throwsAsync(machine.vsock.connect(8), { instanceOf: VsockError })
  t.is(refused.problem, 'refused')

  // More bytes than all buffers together, in both directions.
  const bytes = randomBytes(1_000_000)
  const sink = await machine.vsock.connect(ports.sink, { allowHalfOpen: true })
  sink.end(bytes)
  t.is(String(await whole(sink)), hashed(bytes))
  const source = await machine.vsock.connect(ports.source)
  const count = Buffer.alloc(8)
  count.writeBigUInt64LE(1_000_000n)
  source.write(count)
  const received = await whole(source)
  t.is(received.length, 1_000_000)
  t.true(received.every((byte, index) => byte === (index & 0xff)))

  // The guest connects to a port without a listener, to a listener of this process, and to a program's socket.
  t.is(await command(machine, 'c53'), 'errno 104')
  const greeted = command(machine, 'c52')
  for await (const stream of server) {
    t.is(stream.hostPort, 52)
    t.is(String(await whole(stream)), 'hello\n')
    stream.end('1234567')
    break
  }
  t.is(await greeted, 'ok 7')
  const program = createServer({ allowHalfOpen: true }, socket => void socket.resume().end('x'.repeat(100_000)))
  program.listen(`${path}_80`)
  await once(program, 'listening')
  t.is(await command(machine, 'c80'), 'ok 100000')
  program.close()

  // A program of the host connects.
  const client = connect({ path, allowHalfOpen: true })
  client.end(`CONNECT ${ports.echo}\nthrough a path`)
  t.regex(String(await whole(client)), /^OK \d+\nthrough a path$/)
  const wrong = connect({ path })
  wrong.end('CONNECT 8\n')
  t.is(String(await whole(wrong)), '')

  // Many connections at the same time.
  const many = await Promise.all(
    Array.from({ length: 20 }, async (_, index) => {
      const stream = await machine.vsock.connect(ports.echo, { allowHalfOpen: true })
      stream.end(`stream ${index}`)
      return String(await whole(stream))
    }),
  )
  t.deepEqual(
    many,
    many.map((_, index) => `stream ${index}`),
  )

  // A reset ends the streams. Listeners and paths stay.
  const cut = await machine.vsock.connect(ports.echo)
  const closed = once(cut.resume(), 'close')
  await machine.reset()
  await closed
  await ready(machine)
  const again = command(machine, 'c52')
  const [stream] = (await once(server, 'connection')) as [VsockStream]
  stream.resume().end()
  t.is(await again, 'ok 0')

  // The end of the machine ends every stream and listener.
  const last = await machine.vsock.connect(ports.echo)
  const ended = [once(server, 'close'), once(last.resume(), 'close')]
  await machine.stop()
  await Promise.all(ended)
  t.false(existsSync(path))
  await t.throwsAsync(machine.vsock.connect(ports.echo), { code: 'ERR_MACHINE_STATE' })
  t.throws(() => machine.vsock.listen(1), { code: 'ERR_MACHINE_STATE' })
})

test('a reader that does not read blocks only its own writer, on either side', async t => {
  t.timeout(600_000)
  await using machine = await Machine.create(vsockGuest())
  await machine.start()
  await ready(machine)
  const slow = await machine.vsock.connect(ports.source)
  slow.pause()
  const count = Buffer.alloc(8)
  count.writeBigUInt64LE(4_000_000n)
  slow.write(count)
  // The host does not read the echo, so both sides stall.
  const stuck = await machine.vsock.connect(ports.echo)
  stuck.pause()
  const chunk = Buffer.alloc(1 << 20)
  let written = 0
  while (written < 64 && stuck.write(chunk)) written++
  await sleep(1000)
  t.true(stuck.writableLength > 0, 'the guest does not take everything')
  t.true(slow.bytesRead < 2_000_000, `${slow.bytesRead}`)
  t.is(await command(machine, 'a'), 'cid 3')
  let read = 0
  for await (const part of slow) read += (part as Buffer).length
  t.is(read, 4_000_000)
  stuck.destroy()
  t.is(await command(machine, 'a'), 'cid 3')
})

small('vsock calls fail without a device, with an invalid port, and on a port with a listener', async t => {
  await using without = await Machine.create({ kernel: guestImage('hello') })
  await t.throwsAsync(without.vsock.connect(1), { code: 'ERR_MACHINE_CONFIG', message: /no vsock device/ })
  t.throws(() => without.vsock.listen(1), { code: 'ERR_MACHINE_CONFIG' })
  await using machine = await Machine.create({ kernel: guestImage('hello'), vsock: { cid: 5 } })
  for (const port of [-1, 1.5, 2 ** 32 - 1]) {
    await t.throwsAsync(machine.vsock.connect(port), { code: 'ERR_ARGUMENT' })
    t.throws(() => machine.vsock.listen(port), { code: 'ERR_ARGUMENT' })
  }
  t.throws(() => machine.vsock.listen(1, { backlog: 0 }), { code: 'ERR_ARGUMENT' })
  const server = machine.vsock.listen(1)
  const error = t.throws(() => machine.vsock.listen(1), { instanceOf: VsockError })
  t.is(error.problem, 'in-use')
  server.close()
  await once(server, 'close')
  machine.vsock.listen(1)[Symbol.dispose]()
  const waiting = machine.vsock.listen(2)
  const none = (async () => {
    for await (const stream of waiting) t.fail(`${stream.guestPort}`)
  })()
  await t.throwsAsync(machine.vsock.connect(1, { signal: AbortSignal.abort(new Error('enough')) }), {
    message: 'enough',
  })
  await machine.stop()
  await none
})

small('an unusable vsock path is refused before the machine exists', async t => {
  const make = (path: string) => Machine.create({ kernel: guestImage('hello'), vsock: { cid: 3, path } })
  await t.throwsAsync(make('/nowhere/vsock'), { code: 'ERR_MACHINE_CONFIG', message: /is not usable for a listener/ })
  await t.throwsAsync(make('x'.repeat(98)), { code: 'ERR_MACHINE_CONFIG' })
  const path = join(scratch(), 'twice')
  await using first = await make(path)
  await t.throwsAsync(make(path), { code: 'ERR_MACHINE_CONFIG' })
  await first.stop()
  await (await make(path)).stop()
})
