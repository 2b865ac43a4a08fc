import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  Machine,
  MachineConfigError,
  MachineStateError,
  serveDevice,
  type DeviceOptions,
  type Exit,
  type MachineOptions,
} from 'kvm-accel'
import { emulated, root } from '../helpers/paths.js'
import { kvm, requires } from '../helpers/requires.js'

const test = requires(kvm)

const LATCH = new URL('../helpers/latch-device.mjs', import.meta.url)

/** mov dx, 0x550 */
const AT_550 = [0xba, 0x50, 0x05]
/** out 0xf4, al */
const EXIT = [0xe6, 0xf4]
/** in al, 0x68; jmp to it */
const POLL_68 = [0xe4, 0x68, 0xeb, 0xfc]

/** A machine that runs real-mode code. */
const make = (code: readonly number[], options: Partial<MachineOptions> = {}): Promise<Machine> =>
  Machine.create({
    kernel: Uint8Array.from(code),
    kernelFormat: 'flat',
    memory: '1M',
    debugExit: { iobase: 0xf4, iosize: 4 },
    ...options,
  })

/** Runs the code with a device. Returns the value that it sends to isa-debug-exit. */
const run = async (code: readonly number[], device: DeviceOptions): Promise<Exit> => {
  await using machine = await make(code)
  await machine.addDevice(device)
  await machine.start()
  return await machine.wait()
}

const status = (value: number): Exit => ({ reason: 'debug-exit', status: (value << 1) | 1 })

test('a handler answers in and out', async t => {
  const seen: unknown[] = []
  // mov ax, 0x1234; out dx, ax; in al, dx
  const exit = await run([...AT_550, 0xb8, 0x34, 0x12, 0xef, 0xec, ...EXIT], {
    pio: [0x550, 2],
    read: (offset, size) => {
      seen.push(['read', offset, size])
      return 0x2a
    },
    write: (...access) => void seen.push(['write', ...access]),
  })
  t.deepEqual(exit, status(0x2a))
  t.deepEqual(seen, [
    ['write', 0, 2, 0x1234],
    ['read', 0, 1],
  ])
})

test('a handler may be asynchronous, and the event loop continues', async t => {
  let turns = 0
  const exit = await run([...AT_550, 0xec, ...EXIT], {
    pio: [0x550, 1],
    read: async () => {
      while (turns < 5) await sleep(1).then(() => turns++)
      return 9n
    },
  })
  t.deepEqual(exit, status(9))
  t.is(turns, 5)
})

test('a device may be in memory, and 8 bytes are a bigint', async t => {
  const seen: unknown[] = []
  // mov ax, 0xffff; mov ds, ax; mov eax, [0x10]; mov [0x14], eax: 4 bytes, the largest access without MMX
  const code = [0xb8, 0xff, 0xff, 0x8e, 0xd8, 0x66, 0xa1, 0x10, 0x00, 0x66, 0xa3, 0x14, 0x00, ...EXIT]
  const exit = await run(code, {
    mmio: [0x10_0000n, 0x1000],
    read: (offset, size) => {
      seen.push([offset, size])
      return -2
    },
    write: (...access) => void seen.push(access),
  })
  t.deepEqual(exit, status(0x7e))
  t.deepEqual(seen, [
    [0, 4],
    [4, 4, 0xffff_fffe],
  ])
})

test('without a read handler the guest reads all ones, and without a write handler nothing happens', async t => {
  t.deepEqual(await run([...AT_550, 0xec, ...EXIT], { pio: [0x550, 1], write: () => {} }), status(0x7f))
  t.deepEqual(await run([...AT_550, 0xee, 0xec, ...EXIT], { pio: [0x550, 1], read: () => 3 }), status(3))
})

test('a worker serves a device', async t => {
  // mov al, 20; out dx, al; in al, dx
  const code = [...AT_550, 0xb0, 20, 0xee, 0xec, ...EXIT]
  t.deepEqual(await run(code, { pio: [0x550, 1], worker: LATCH }), status(21))
  const data = { start: 6 }
  t.deepEqual(await run([...AT_550, 0xec, ...EXIT], { pio: [0x550, 1], worker: LATCH, workerData: data }), status(7))
})

test('a device survives a reset of its machine', async t => {
  await using machine = await make([...AT_550, 0xec, ...EXIT], { noShutdown: true })
  let reads = 0
  await machine.addDevice({ pio: [0x550, 1], read: () => ++reads })
  await machine.start()
  t.deepEqual(await machine.wait(), status(1))
  await machine.reset()
  await machine.start()
  t.deepEqual(await machine.wait(), status(2))
})

test('in a handler, pause() and reset() resolve when the request is registered', async t => {
  await using machine = await make(POLL_68)
  let reads = 0
  await machine.addDevice({
    pio: [0x68, 1],
    read: async () => {
      if (++reads === 3) await machine.pause()
      return 0
    },
  })
  await machine.start()
  const [{ state }] = (await once(machine, 'stop')) as [{ state: string }]
  t.is(state, 'paused')
  t.is(reads, 3)
  await machine.resume()
})

test('stop() ends a machine whose handler never answers', async t => {
  const machine = await make(POLL_68)
  const asked = new Promise<void>(resolve => {
    void machine.addDevice({
      pio: [0x68, 1],
      read: () => {
        resolve()
        return new Promise<number>(() => {})
      },
    })
  })
  await machine.start()
  await asked
  await machine.stop()
  t.deepEqual(await machine.wait(), { reason: 'host-quit' })
})

const misplaced: readonly (readonly [string, object, RegExp])[] = [
  ['no place', { read: () => 0 }, /needs either 'pio' or 'mmio'/],
  ['two places', { pio: [1, 1], mmio: [0xd000_0000, 1], read: () => 0 }, /and not both/],
  ['a negative port', { pio: [-1, 1], read: () => 0 }, /invalid place \[-1,1\]/],
  ['an empty claim', { pio: [0x550, 0], read: () => 0 }, /a length of at least 1/],
  ['a port beyond the last', { pio: [0xffff, 2], read: () => 0 }, /0xffff at most/],
  ['COM1', { pio: [0x3f0, 16], read: () => 0 }, /overlaps serial at 0x3f8/],
  ['RAM', { mmio: [0x1000, 0x1000], read: () => 0 }, /overlaps RAM/],
  ['an address beyond 64 bits', { mmio: [1n << 64n, 1], read: () => 0 }, /64 bits/],
  ['no handler', { pio: [0x550, 1] }, /has neither 'read', 'write' nor 'worker'/],
  ['a handler that is not a function', { pio: [0x550, 1], read: 5 }, /expected a function/],
  ['an unknown key', { pio: [0x550, 1], raed: () => 0, read: () => 0 }, /unknown key 'raed'. Did you mean 'read'\?/],
  ['an unknown onError', { pio: [0x550, 1], read: () => 0, onError: 'fault' }, /onError fault: expected 'end' or/],
  ['workerData without a worker', { pio: [0x550, 1], read: () => 0, workerData: 1 }, /without 'worker'/],
  ['a worker with handlers', { pio: [0x550, 1], read: () => 0, worker: LATCH }, /has both a worker and/],
]

for (const [what, device, message] of misplaced) {
  test(`a device is refused: ${what}`, async t => {
    await using machine = await make(POLL_68)
    const error = await t.throwsAsync(() => machine.addDevice(device as DeviceOptions), {
      instanceOf: MachineConfigError,
      message,
    })
    t.is(error.option, 'device')
    t.truthy(error.remedy)
  })
}

test('devices must not overlap, and must be added before start()', async t => {
  await using machine = await make(POLL_68)
  const device: DeviceOptions = { pio: [0x550, 4], read: () => 0, name: 'latch' }
  await machine.addDevice(device)
  await t.throwsAsync(() => machine.addDevice({ ...device, pio: [0x552, 1] }), { message: /overlaps latch at 0x550/ })
  await machine.start()
  await t.throwsAsync(() => machine.addDevice({ ...device, pio: [0x600, 1] }), { instanceOf: MachineStateError })
})

test('serveDevice() outside a device’s worker is an error that names the right place', t => {
  t.throws(() => serveDevice({}), {
    instanceOf: MachineConfigError,
    message: /in a worker that addDevice\(\) has started/,
  })
})

/** Runs a script with a machine that polls port 0x68. Returns its status and stderr. */
const script = async (source: string): Promise<{ code: number | null; stderr: string }> => {
  const machine = `
    import { Machine } from 'kvm-accel'
    const make = code => Machine.create({ kernel: Uint8Array.from(code), kernelFormat: 'flat', memory: '1M' })
    const machine = await make(${JSON.stringify(POLL_68)})
  `
  const child = spawn(process.execPath, ['--input-type=module', '-e', machine + source], {
    cwd: root,
    timeout: emulated ? 600_000 : 60_000,
  })
  let stderr = ''
  child.stderr.on('data', chunk => (stderr += String(chunk)))
  const [code] = (await once(child, 'close')) as [number | null]
  return { code, stderr }
}

const broken = new Error('the device broke')
const breaks = (): never => {
  throw broken
}

test('a handler that throws ends its machine and not the process, and wait() names the error', async t => {
  for (const read of [breaks, async () => breaks()]) {
    await using machine = await make(POLL_68)
    await machine.addDevice({ name: 'latch', pio: [0x68, 1], read })
    const failed = once(machine, 'device-error')
    const shutdown = once(machine, 'shutdown')
    await machine.start()
    t.deepEqual(await failed, [{ device: 'latch', error: broken }])
    t.deepEqual(await machine.wait(), { reason: 'handler-error', cause: broken })
    t.deepEqual(await shutdown, [{ reason: 'handler-error' }])
    const error = await t.throwsAsync(machine.reset(), {
      instanceOf: MachineStateError,
      message: /a handler .* failed/,
    })
    t.is(error.cause, broken)
  }
})

test('with onError all-ones the guest reads all ones after an error, and the machine continues', async t => {
  // out dx, al; in al, dx; out 0xf4, al
  await using machine = await make([...AT_550, 0xee, 0xec, ...EXIT])
  const errors: unknown[] = []
  machine.on('device-error', ({ error }) => errors.push(error))
  await machine.addDevice({ pio: [0x550, 1], onError: 'all-ones', read: breaks, write: async () => breaks() })
  await machine.start()
  t.deepEqual(await machine.wait(), status(0x7f))
  t.deepEqual(errors, [broken, broken])
})

test('an error in a handler without a listener is a warning of the process', async t => {
  const { code, stderr } = await script(`
    await machine.addDevice({ pio: [0x68, 1], read: () => { throw new Error('the device broke') } })
    await machine.start()
  `)
  t.is(code, 0)
  t.regex(stderr, /the device broke/)
})

test('an answer that is not an integer is an error with the device’s name', async t => {
  await using machine = await make(POLL_68)
  await machine.addDevice({ name: 'latch', pio: [0x68, 1], read: () => undefined as never })
  await machine.start()
  const { reason, cause } = await machine.wait()
  t.is(reason, 'handler-error')
  t.regex((cause as Error).message, /read\(\) of device 'latch' returned undefined/)
  t.is((cause as { code?: string }).code, 'ERR_ARGUMENT')
})

/** mov ax, 0xdead; out 0x68, ax; in al, 0x68; out 0xf4, al */
const BREAKS_LATCH = [0xb8, 0xad, 0xde, 0xe7, 0x68, 0xe4, 0x68, ...EXIT]

test('a worker that throws, and one that cannot be loaded, end the machine', async t => {
  const cause = async (worker: URL): Promise<string> => {
    await using machine = await make(BREAKS_LATCH)
    await machine.addDevice({ pio: [0x68, 2], worker })
    await machine.start().catch(() => {})
    const exit = await machine.wait()
    t.is(exit.reason, 'handler-error')
    return String(exit.cause)
  }
  t.regex(await cause(LATCH), /the latch broke/)
  t.regex(await cause(new URL('file:///missing/device.mjs')), /missing\/device\.mjs/)
})

test('with onError all-ones a worker continues after a handler that throws', async t => {
  await using machine = await make(BREAKS_LATCH)
  const failed = once(machine, 'device-error')
  await machine.addDevice({
    name: 'latch',
    pio: [0x68, 2],
    worker: LATCH,
    workerData: { start: 6 },
    onError: 'all-ones',
  })
  await machine.start()
  t.deepEqual(await machine.wait(), status(7))
  const [{ device, error }] = (await failed) as [{ device: string; error: Error }]
  t.is(device, 'latch')
  t.regex(error.message, /the latch broke/)
})

test('process.exit() while a guest waits for a worker and for a handler leaves no thread', async t => {
  const { code, stderr } = await script(`
    await machine.addDevice({ pio: [0x68, 1], read: () => new Promise(() => {}) })
    const other = await make(${JSON.stringify(POLL_68)})
    await other.addDevice({ pio: [0x68, 1], worker: new URL(${JSON.stringify(LATCH.href)}) })
    await Promise.all([machine.start(), other.start()])
    setTimeout(() => process.exit(3), 200)
  `)
  t.is(code, 3, stderr)
})

test('a worker that cannot be started is an error, and the guest does not wait for its device', async t => {
  // in al, 0x55; out 0xf4, al
  const kernel = Uint8Array.of(0xe4, 0x55, 0xe6, 0xf4)
  await using machine = await Machine.create({
    kernel,
    kernelFormat: 'flat',
    memory: '16M',
    debugExit: { iobase: 0xf4, iosize: 4 },
  })
  await t.throwsAsync(machine.addDevice({ pio: [0x55, 1], worker: 'no-path.mjs' }), {
    instanceOf: MachineConfigError,
    message: /worker that cannot be started/,
  })
  await machine.start()
  t.deepEqual(await machine.wait(), { reason: 'debug-exit', status: 255 })
})
