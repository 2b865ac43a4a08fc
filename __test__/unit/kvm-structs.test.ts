// Tests the accessors' arithmetic. A test of crates/kvm-objects (src/layout) compares their offsets with the kernel's.

import test from 'ava'
import fc from '../helpers/random.js'
import { inspect } from 'node:util'
import { KvmRun } from '../../ts/kvm/generated/run-page.js'
import { KvmMsrEntry, KvmRegs, KvmSregs, KvmVcpuEvents } from '../../ts/kvm/generated/vcpu-structs.js'
import { KvmIoeventfd, KvmPitChannelState, KvmPitState2 } from '../../ts/kvm/generated/vm-structs.js'
import { entries, listOf, numbers } from '../../ts/kvm/structures/lists.js'

test('members have the kernel’s offsets', t => {
  const run = new KvmRun(new ArrayBuffer(3 * 4096))
  const bytes = new DataView(run.buffer)
  bytes.setUint32(8, 2, true)
  bytes.setUint8(32, 1)
  bytes.setUint8(33, 2)
  bytes.setUint16(34, 0x3f8, true)
  bytes.setUint32(36, 7, true)
  bytes.setBigUint64(40, 4096n, true)
  t.is(run.exitReason, 2)
  t.like(run.io, { direction: 1, size: 2, port: 0x3f8, count: 7, dataOffset: 4096 })
  t.is(run.io, run.io, 'a nested structure is created once')
  run.immediateExit = 1
  t.is(bytes.getUint8(1), 1)
})

test('nested structures and arrays are views', t => {
  const sregs = new KvmSregs()
  sregs.cs.base = 0xffff_0000n
  sregs.cs.selector = 0xf000
  sregs.interruptBitmap[3] = 1n << 63n
  const copy = new KvmSregs(sregs.bytes.slice().buffer)
  t.is(copy.cs.base, 0xffff_0000n)
  t.is(copy.cs.selector, 0xf000)
  t.is(copy.interruptBitmap[3], 1n << 63n)

  const pit = new KvmPitState2()
  pit.channels[2]!.countLoadTime = -5n
  t.is(new KvmPitChannelState(pit.buffer, 2 * KvmPitChannelState.size).countLoadTime, -5n)
  t.is(pit.channels.length, 3)
})

test('structures have the kernel’s sizes', t => {
  t.deepEqual([KvmRegs.size, KvmSregs.size, KvmVcpuEvents.size, KvmIoeventfd.size], [144, 312, 64, 64])
})

test('guest addresses are exact numbers', t => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }), address => {
      const event = new KvmIoeventfd()
      event.addr = address
      t.is(event.addr, address)
      t.is(event.view.getBigUint64(8, true), BigInt(address))
    }),
  )
})

test('a structure that exceeds its buffer is refused', t => {
  t.throws(() => new KvmRegs(new ArrayBuffer(143)), { code: 'ERR_ARGUMENT' })
  t.throws(() => new KvmRegs(new ArrayBuffer(200), 100), { code: 'ERR_ARGUMENT' })
})

test('console.log shows a structure with its members', t => {
  const entry = Object.assign(new KvmMsrEntry(), { index: 16, data: 5n })
  t.is(inspect(entry), 'kvm_msr_entry { index: 16, data: 5n }')
})

test('a list has a count and entries', t => {
  const list = listOf(8, KvmMsrEntry, [
    Object.assign(new KvmMsrEntry(), { index: 1, data: 2n }),
    Object.assign(new KvmMsrEntry(), { index: 3, data: 4n }),
  ])
  t.is(list.length, 40)
  t.deepEqual(
    entries(list, 8, KvmMsrEntry).map(({ index, data }) => [index, data]),
    [
      [1, 2n],
      [3, 4n],
    ],
  )
  t.deepEqual(numbers(Uint8Array.of(2, 0, 0, 0, 9, 0, 0, 0, 8, 0, 0, 0)), [9, 8])
})
