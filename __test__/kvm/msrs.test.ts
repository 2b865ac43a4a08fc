// Tests MSRs whose accesses are answered by functions.

import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { Machine, type Exit, type MachineOptions, type MsrRule } from 'kvm-accel'
import { kvm, requires } from '../helpers/requires.js'

const test = requires(kvm)

/** mov ecx, 0x1234 */
const ECX = [0x66, 0xb9, 0x34, 0x12, 0x00, 0x00]
const [RDMSR, WRMSR] = [
  [0x0f, 0x32],
  [0x0f, 0x30],
] as const
/** out 0xf4, al */
const EXIT = [0xe6, 0xf4]

/** Real-mode code at 0x1000 with a handler for #GP. The handler, at 0x1060, sends 0x3f to isa-debug-exit. */
const code = (...bytes: (readonly number[])[]): Uint8Array => {
  // xor ax, ax; mov ds, ax; mov word [13 * 4], 0x1060; mov word [13 * 4 + 2], cs
  const catchFault = [0x31, 0xc0, 0x8e, 0xd8, 0xc7, 0x06, 0x34, 0x00, 0x60, 0x10, 0x8c, 0x0e, 0x36, 0x00]
  const image = new Uint8Array(0x70)
  image.set([...catchFault, ...bytes.flat()])
  image.set([0xb0, 0x3f, ...EXIT], 0x60)
  return image
}

const make = (image: Uint8Array, msrFilter: readonly MsrRule[], options: Partial<MachineOptions> = {}) =>
  Machine.create({
    kernel: image,
    kernelFormat: 'flat',
    memory: '1M',
    debugExit: { iobase: 0xf4, iosize: 4 },
    msrFilter,
    ...options,
  })

const run = async (image: Uint8Array, rule: Omit<MsrRule, 'index'>): Promise<Exit> => {
  await using machine = await make(image, [
    { index: 0x10, count: 2, read: 1 },
    { index: 0x1230, count: 8, ...rule },
  ])
  await machine.start()
  return await machine.wait()
}

const status = (value: number): Exit => ({ reason: 'debug-exit', status: ((value << 1) | 1) & 0xff })
const FAULT = status(0x3f)

test('functions answer rdmsr and wrmsr, with all 64 bits', async t => {
  const seen: unknown[] = []
  // mov eax, 0x87654321; mov edx, 0xfedcba98; wrmsr; rdmsr; xor al, dl
  const write = [0x66, 0xb8, 0x21, 0x43, 0x65, 0x87, 0x66, 0xba, 0x98, 0xba, 0xdc, 0xfe, ...WRMSR]
  const exit = await run(code(ECX, write, RDMSR, [0x30, 0xd0], EXIT), {
    read: (...access) => {
      seen.push(['read', ...access])
      return 0xffff_ff05_0000_0021n
    },
    write: (...access) => void seen.push(['write', ...access]),
  })
  t.deepEqual(exit, status(0x24))
  t.deepEqual(seen, [
    ['write', 0x1234, 0xfedc_ba98_8765_4321n, 0],
    ['read', 0x1234, 0],
  ])
})

test('a function may be asynchronous, and the event loop continues', async t => {
  let turns = 0
  const exit = await run(code(ECX, RDMSR, EXIT), {
    read: async () => {
      while (turns < 5) await sleep(1).then(() => turns++)
      return 9
    },
  })
  t.deepEqual(exit, status(9))
})

test('fault is a #GP, and the other direction of a rule has its fixed answer', async t => {
  t.deepEqual(await run(code(ECX, RDMSR, EXIT), { read: () => 'fault' }), FAULT)
  t.deepEqual(await run(code(ECX, WRMSR, EXIT), { write: async () => 'fault' as const }), FAULT)
  t.deepEqual(await run(code(ECX, RDMSR, EXIT), { read: 6, write: () => 'fault' }), status(6))
  t.deepEqual(await run(code(ECX, WRMSR, RDMSR, EXIT), { read: () => 7, write: 'ignore' }), status(7))
  t.deepEqual(await run(code(ECX, WRMSR, EXIT), { read: () => 7, write: 'fault' }), FAULT)
})

test('a pause that is requested in a function takes effect after the answer', async t => {
  // again: rdmsr; test al, al; je again
  const image = code(ECX, RDMSR, [0x84, 0xc0, 0x74, 0xfa], EXIT)
  let pausing: Promise<void> | undefined
  let value = 0
  await using machine = await make(image, [
    {
      index: 0x1234,
      read: async () => {
        await (pausing ??= machine.pause())
        return value
      },
    },
  ])
  const stopped = once(machine, 'stop')
  await machine.start()
  await stopped
  t.is(machine.state, 'paused')
  value = 4
  await machine.resume()
  t.deepEqual(await machine.wait(), status(4))
})

test('a machine ends while its guest waits for an answer', async t => {
  let asked: (() => void) | undefined
  const waits = new Promise<void>(resolve => (asked = resolve))
  const machine = await make(code(ECX, RDMSR, EXIT), [
    {
      index: 0x1234,
      read: () => {
        asked?.()
        return new Promise(() => {})
      },
    },
  ])
  await machine.start()
  await waits
  await machine.stop()
  t.is((await machine.wait()).reason, 'host-quit')
})

test('a function that throws or returns an invalid value ends the machine, and wait() names the error', async t => {
  const mine = new Error('mine')
  const reads: readonly (readonly [() => unknown, RegExp])[] = [
    [
      () => {
        throw mine
      },
      /^Error: mine/,
    ],
    [() => 1.5, /^ArgumentError: read\(\) of MSR 0x1234 returned 1.5/],
    [async () => -1n, /^ArgumentError: read\(\) of MSR 0x1234 returned -1/],
  ]
  for (const [read, message] of reads) {
    await using machine = await make(code(ECX, RDMSR, EXIT), [{ index: 0x1234, read: read as () => bigint }])
    const failed = once(machine, 'device-error')
    await machine.start()
    const { reason, cause } = await machine.wait()
    t.is(reason, 'handler-error')
    t.regex(String(cause), message)
    t.deepEqual(await failed, [{ device: 'MSR 0x1234', error: cause }])
  }
})
