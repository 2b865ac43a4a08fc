// Tests a serial port on a socket and on a pseudo-terminal.

import { once } from 'node:events'
import { existsSync, linkSync } from 'node:fs'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { join } from 'node:path'
import { Machine, MachineConfigError, guestImage, type MachineOptions } from 'kvm-accel'
import { scratch } from '../helpers/paths.js'
import { kvm, requires } from '../helpers/requires.js'
import { run } from '../helpers/spawn.js'

const test = requires(kvm)

const make = (serial: NonNullable<MachineOptions['serial']>, options: Partial<MachineOptions> = {}): Promise<Machine> =>
  Machine.create({ kernel: guestImage('serial-echo'), memory: '16M', noReboot: true, serial, ...options })

const client = async (path: string): Promise<Socket> => {
  const socket = connect({ path })
  await once(socket, 'connect')
  return socket
}

const until = async (socket: Socket, text: string): Promise<string> => {
  let received = ''
  while (!received.includes(text)) received += String((await once(socket, 'data'))[0])
  return received
}

test('a listening port serves one client after the other, and the end of the machine closes it', async t => {
  const path = join(scratch(), 'com1')
  await using machine = await make({ socket: path, server: true })
  await machine.start()
  const first = await client(path)
  const second = await client(path)
  first.write('hello')
  t.true((await until(first, 'hello')).endsWith('hello'))
  second.write('again')
  first.destroy()
  t.true((await until(second, 'again')).endsWith('again'))
  second.write('q')
  await machine.wait()
  await once(second.resume(), 'close')
  t.false(existsSync(path))
})

test('with wait, creation resolves when the first client has connected, and no byte is lost', async t => {
  const path = join(scratch(), 'com1')
  const creation = make({ socket: path, server: true, wait: true }, { kernel: guestImage('hello') })
  while (!existsSync(path)) await new Promise(setImmediate)
  const socket = await client(path)
  await using machine = await creation
  let text = ''
  socket.on('data', chunk => (text += String(chunk)))
  await machine.start()
  await once(socket, 'end')
  t.regex(text, /^Hello[^]*Goodbye/)
})

test('warnings of the creation are emitted after a wait for the first client', async t => {
  const path = join(scratch(), 'com1')
  const creation = make({ socket: path, server: true, wait: true }, { cpu: 'Penryn' })
  while (!existsSync(path)) await new Promise(setImmediate)
  await client(path)
  await using machine = await creation
  const codes: string[] = []
  machine.on('warning', ({ code }) => codes.push(code))
  // Emitted before the reply to the first command.
  await machine.start()
  t.deepEqual(codes, ['CPU_MODEL_UNAVAILABLE'])
})

test('waiting for a client can be aborted', async t => {
  const path = join(scratch(), 'com1')
  const controller = new AbortController()
  const creation = make({ socket: path, server: true, wait: true }, { signal: controller.signal })
  setTimeout(() => controller.abort(), 100)
  await t.throwsAsync(creation, { any: true, name: 'AbortError' })
  t.false(existsSync(path))
})

test('a port connects by TCP, and the guest continues after the peer has ended', async t => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const peer = once(server, 'connection') as Promise<[Socket]>
  await using machine = await make({ socket: { host: '127.0.0.1', port } })
  const [socket] = await peer
  await machine.start()
  socket.write('over TCP')
  t.true((await until(socket, 'over TCP')).endsWith('over TCP'))
  socket.destroy()
  server.close()
  machine.serial.write('q')
  t.is((await machine.wait()).reason, 'guest-reset')
})

test('an unusable path is an error, and an orphaned socket is replaced', async t => {
  const path = join(scratch(), 'com1')
  await t.throwsAsync(make({ socket: path }), { instanceOf: MachineConfigError, message: /cannot connect/ })
  await t.throwsAsync(make({ socket: '/nonexistent/x', server: true }), { message: /cannot listen/ })
  await using first = await make({ socket: path, server: true })
  await t.throwsAsync(make({ socket: path, server: true }), { message: /is in use: another process listens at it/ })
  await first.stop()
  const left = createServer().listen(`${path}.server`)
  await once(left, 'listening')
  linkSync(`${path}.server`, path)
  left.close()
  await using second = await make({ socket: path, server: true })
  await second.stop()
})

test('a pseudo-terminal: programs connect and disconnect, and unread output stalls nothing', async t => {
  await using machine = await make('pty')
  await machine.start()
  const { path = '' } = machine.serial
  const talk =
    'exec 3<>"$0"; echo "$1" >&3; while read -r line <&3; do case $line in *"$1"*) echo received; break; esac; done'
  for (const word of ['first', 'second']) {
    // The port discards its echo while no program has the terminal open.
    machine.serial.write('x'.repeat(10_000))
    t.is((await run('sh', ['-c', talk, path, word])).stdout, 'received\n')
  }
  machine.serial.write('q')
  await machine.wait()
})
