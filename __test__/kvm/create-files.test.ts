// Tests the files and sockets that create() opens. None of them makes it wait without bound, and it removes nothing of
// another process.

import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, constants, existsSync, linkSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { Machine, MachineConfigError, guestImage, type MachineOptions } from 'kvm-accel'
import { root, scratch } from '../helpers/paths.js'
import { kvm, requires } from '../helpers/requires.js'

const test = requires(kvm)

let folders = 0
/** Creates a folder for one test. */
const folder = (): string => {
  const path = join(scratch(), `files-${folders++}`)
  mkdirSync(path)
  return path
}

const fifo = (): string => {
  const path = join(folder(), 'fifo')
  execFileSync('mkfifo', [path])
  return path
}

const make = (options: Partial<MachineOptions>): Promise<Machine> =>
  Machine.create({ kernel: guestImage('hello'), memory: '16M', noReboot: true, serials: ['null'], ...options })

/** Leaves the socket of a process that was killed while it listened. */
const deadSocket = async (path: string): Promise<void> => {
  const server = createServer().listen(`${path}.server`)
  await once(server, 'listening')
  linkSync(`${path}.server`, path)
  server.close()
  await once(server, 'close')
}

test('a FIFO without a reader is an error with a remedy, for serial ports and consoles', async t => {
  const path = fifo()
  const remedy = /^Start the reader first/
  const serial = await t.throwsAsync(make({ serials: [{ file: path }] }), { instanceOf: MachineConfigError })
  t.is(serial.message.split('\n')[0], `serial file '${path}' is a FIFO that no process reads`)
  t.regex(serial.remedy ?? '', remedy)
  const second = await t.throwsAsync(make({ serials: ['null', { file: path }] }), { instanceOf: MachineConfigError })
  t.regex(second.remedy ?? '', remedy)
  const console = await t.throwsAsync(make({ consoles: [{ target: { file: path } }] }), {
    instanceOf: MachineConfigError,
  })
  t.is(console.message.split('\n')[0], `console file '${path}' is a FIFO that no process reads`)
  t.regex(console.remedy ?? '', remedy)
})

test('A FIFO with a reader gets every byte of a serial port', async t => {
  const path = fifo()
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  const output = join(folder(), 'output')
  const expected = await (async () => {
    await using machine = await make({ serials: [{ file: output }] })
    await machine.start()
    await machine.wait()
    return readFileSync(output, 'utf8')
  })()
  t.regex(expected, /^Hello[^]*Goodbye/)
  await using machine = await make({ serials: [{ file: path }] })
  await machine.start()
  await machine.wait()
  await machine.stop()
  t.is(readFileSync(reader, 'utf8'), expected)
  closeSync(reader)
})

test('a FIFO, a directory or a device as an input file is an error at once', async t => {
  const path = fifo()
  for (const options of [
    { kernel: path },
    { initrd: path },
    { firmware: path },
    { fwCfg: { 'opt/test': { file: path } } },
    { memory: { size: '16M', backend: 'file', path, share: true } },
    { disks: [{ path }] },
  ] as Partial<MachineOptions>[]) {
    await t.throwsAsync(
      make(options),
      { message: /is not a (regular )?file|is neither a file nor a block device/ },
      JSON.stringify(options),
    )
  }
  await t.throwsAsync(make({ serials: [{ file: scratch() }] }), { message: /is a directory/ })
})

test('a file at the path of a socket is an error, and stays', async t => {
  const path = join(folder(), 'file')
  writeFileSync(path, 'precious')
  await t.throwsAsync(make({ serials: [{ socket: path, server: true }] }), {
    instanceOf: MachineConfigError,
    message: /cannot listen at '.*' for a serial port: the path is a regular file, not a socket/,
  })
  await t.throwsAsync(make({ vsock: { cid: 3, path } }), {
    instanceOf: MachineConfigError,
    message: /cannot use vsock path '.*': it is a regular file, not a socket/,
  })
  t.is(readFileSync(path, 'utf8'), 'precious')
})

const listening = {
  serial: (path: string) => make({ serials: [{ socket: path, server: true }] }),
  vsock: (path: string) => make({ vsock: { cid: 3, path } }),
}

for (const [name, listen] of Object.entries(listening)) {
  test(`${name}: a machine replaces the socket of a process that has ended, and removes its own socket at the end`, async t => {
    const path = join(folder(), 'socket')
    await deadSocket(path)
    await using machine = await listen(path)
    const client = connect({ path })
    await once(client, 'connect')
    client.destroy()
    await machine.stop()
    t.false(existsSync(path))
  })

  test(`${name}: of machines that start at once at one path, one gets the path and keeps it`, async t => {
    const path = join(folder(), 'socket')
    await deadSocket(path)
    const results = await Promise.allSettled([listen(path), listen(path), listen(path)])
    const machines = results.flatMap(result => (result.status === 'fulfilled' ? [result.value] : []))
    const errors = results.flatMap(result => (result.status === 'rejected' ? [String(result.reason)] : []))
    t.is(machines.length, 1)
    for (const error of errors) t.regex(error, /is in use: another process listens at it/)
    t.true(existsSync(path))
    for (const machine of machines) await machine.stop()
    t.false(existsSync(path))
  })

  test(`${name}: a machine does not remove a file that has replaced its socket`, async t => {
    const path = join(folder(), 'socket')
    await using machine = await listen(path)
    execFileSync('sh', ['-c', 'rm "$0" && echo precious > "$0"', path])
    await machine.stop()
    t.is(readFileSync(path, 'utf8'), 'precious\n')
  })
}

/** A process that listens and never accepts, and two clients that fill its backlog of one. */
const silent = async (place: string): Promise<{ place: string; [Symbol.dispose](): void }> => {
  const process = spawn('node', [join(root, '__test__/helpers/silent-listener.mjs'), place], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const [bound] = (await once(createInterface(process.stdout), 'line')) as [string]
  const clients = [0, 1].map(() =>
    /^\d+$/.test(bound) ? connect(Number(bound), '127.0.0.1') : connect({ path: bound }),
  )
  await Promise.all(clients.map(client => once(client, 'connect')))
  for (const client of clients) client.on('error', () => {})
  return {
    place: bound,
    [Symbol.dispose]() {
      process.kill('SIGKILL')
      for (const client of clients) client.destroy()
    },
  }
}

for (const [name, place, target] of [
  ['a Unix socket', () => join(folder(), 'silent'), (place: string) => place],
  ['TCP', () => '0', (place: string) => ({ host: '127.0.0.1', port: Number(place) })],
] as const) {
  test(`Connecting a serial port by ${name} to a peer that does not answer can be aborted`, async t => {
    using peer = await silent(place())
    const controller = new AbortController()
    const reason = new Error('enough')
    const creation = make({ serials: [{ socket: target(peer.place) }], signal: controller.signal })
    setTimeout(() => controller.abort(reason), 50)
    const error = await t.throwsAsync(creation)
    t.is(error, reason)
  })
}

test('A serial port waits while the backlog of its peer is full, and fails when the peer has ended', async t => {
  const path = join(folder(), 'busy')
  const peer = await silent(path)
  const creation = make({ serials: [{ socket: path }] })
  creation.catch(() => {})
  await sleep(50)
  peer[Symbol.dispose]()
  // The process has ended: its socket refuses connections now.
  await t.throwsAsync(creation, {
    instanceOf: MachineConfigError,
    message: /cannot connect to '.*': connect ECONNREFUSED/,
  })
})

/**
 * A guest that transfers by fw_cfg's DMA to 1 MiB: one transfer, and then its control word to isa-debug-exit; or transfers without end.
 */
const transfer = (length: number, endless = false): Uint8Array => {
  const code = new DataView(new ArrayBuffer(0x50))
  // mov dword [0x1040], 0x02000000; xor eax, eax; mov dx, 0x514; out dx, eax; mov eax, 0x1040, most significant byte first; mov dx, 0x518;
  // out dx, eax
  const bytes = [0x66, 0xc7, 0x06, 0x40, 0x10, 0, 0, 0, 2, 0x66, 0x31, 0xc0, 0xba, 0x14, 0x05, 0x66, 0xef]
  bytes.push(0x66, 0xb8, 0, 0, 0x10, 0x40, 0xba, 0x18, 0x05, 0x66, 0xef)
  // jmp to the start; or mov eax, [0x1040]; out 0xf4, eax
  bytes.push(...(endless ? [0xeb, 0xfe - bytes.length] : [0x66, 0xa1, 0x40, 0x10, 0x66, 0xe7, 0xf4]))
  bytes.forEach((byte, at) => code.setUint8(at, byte))
  code.setUint32(0x44, length)
  code.setBigUint64(0x48, 0x10_0000n)
  return new Uint8Array(code.buffer)
}

test('a fw_cfg transfer is complete for the guest, however often the machine is paused during it', async t => {
  const options = {
    kernel: transfer(96 << 20),
    kernelFormat: 'flat',
    memory: '128M',
    debugExit: { iobase: 0xf4, iosize: 4 },
  } as const
  await using machine = await make(options)
  await machine.start()
  // Both calls fail once the guest has ended.
  for (let pause = 0; pause < 20; pause++)
    await machine
      .pause()
      .then(() => machine.resume())
      .catch(() => {})
  const end = await machine.wait()
  // The value is the control word: 0, because the transfer was complete when the instruction after it ran.
  t.deepEqual(end, { reason: 'debug-exit', status: 1 })
})

test('fw_cfg transfers of gigabytes delay neither a pause nor the end of the machine', async t => {
  const options = { kernel: transfer(0x7ff0_0000, true), kernelFormat: 'flat', memory: '2G' } as const
  await using machine = await make(options)
  await machine.start()
  await sleep(20)
  const start = performance.now()
  await machine.pause()
  await machine.resume()
  await machine.stop()
  // One transfer takes up to 9 s. Only a hang exceeds this bound.
  t.true(performance.now() - start < 5000)
})
