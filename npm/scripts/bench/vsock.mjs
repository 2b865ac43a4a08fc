// Streams between Node.js and a Linux guest: the round trip of a byte, and data in either
// direction. Beside them, the round trip of a byte between two Node.js processes. As in tests,
// KVM_ACCEL_TEST_KERNEL names the kernel; the guest's init is that of the tests.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { row } from './table.mjs'

const MIB = 1 << 20
/** The number of bytes of a transfer. */
const AMOUNT = 4 * MIB

const echo = `require('node:net').createServer(s => s.pipe(s)).listen(process.argv[1], () => console.log('up'))`

/** Measures the microseconds of the round trip of a byte. */
const roundTrip = async stream => {
  const start = performance.now()
  stream.write('x')
  await once(stream, 'data')
  return (performance.now() - start) * 1000
}

/** Converts the time of a transfer to microseconds for each MiB. */
const perMiB = milliseconds => (milliseconds * 1000 * MIB) / AMOUNT

/** Measures a transfer to the guest, until the guest reports that it has all bytes. */
const toGuest = async ({ vsock }, port) => {
  const stream = await vsock.connect(port, { allowHalfOpen: true })
  const start = performance.now()
  stream.end(Buffer.alloc(AMOUNT))
  await once(stream.resume(), 'end')
  return perMiB(performance.now() - start)
}

/** Measures a transfer from the guest, up to the last byte. */
const fromGuest = async ({ vsock }, port) => {
  const stream = await vsock.connect(port)
  const count = Buffer.alloc(8)
  count.writeBigUInt64LE(BigInt(AMOUNT))
  const start = performance.now()
  stream.write(count)
  await once(stream.resume(), 'end')
  return perMiB(performance.now() - start)
}

export const vsock = async ({ rounds, transfers }) => {
  const group = { name: 'vsock, Node.js and a Linux guest', unit: 'us', digits: 0 }
  if (!process.env['KVM_ACCEL_TEST_KERNEL']) return { ...group, rows: [row('KVM_ACCEL_TEST_KERNEL is not set', [])] }
  const { Machine } = await import('kvm-accel')
  const { tsImport } = await import('tsx/esm/api')
  const { ports, ready, vsockGuest } = await tsImport('../../../__test__/helpers/vsock-guest.ts', import.meta.url)
  const path = join(tmpdir(), `kvm-accel-bench-${process.pid}`)
  const child = spawn(process.execPath, ['-e', echo, path], { stdio: ['ignore', 'pipe', 'inherit'] })
  const machine = await Machine.create(vsockGuest())
  const times = { guest: [], process: [], there: [], back: [] }
  try {
    await Promise.all([machine.start().then(() => ready(machine)), once(child.stdout, 'data')])
    const [stream, beside] = [await machine.vsock.connect(ports.echo), connect(path)]
    for (let round = 0; round < rounds; round++) {
      times.guest.push(await roundTrip(stream))
      times.process.push(await roundTrip(beside))
    }
    stream.destroy()
    beside.destroy()
    for (let round = 0; round < transfers; round++) {
      times.there.push(await toGuest(machine, ports.sink))
      times.back.push(await fromGuest(machine, ports.source))
    }
  } finally {
    child.kill()
    await machine.stop()
  }
  return {
    ...group,
    rows: [
      row('a byte to the guest and back', times.guest),
      row('... to another Node.js, by a Unix socket', times.process),
      row('a MiB to the guest, which hashes it', times.there),
      row('a MiB from the guest', times.back),
    ],
  }
}
