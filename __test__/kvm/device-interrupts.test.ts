// Interrupts, guest memory and resets of devices that are written in JavaScript.

import { once } from 'node:events'
import {
  ArgumentError,
  GuestMemoryError,
  Machine,
  MachineConfigError,
  MachineStateError,
  type DeviceOptions,
  type MachineDevice,
  type MachineOptions,
} from 'kvm-accel'
import { kvm, requires } from '../helpers/requires.js'

const test = requires(kvm)

const LINE_DEVICE = new URL('../helpers/line-device.mjs', import.meta.url)

/** mov dx, 0x550 */
const AT_550 = [0xba, 0x50, 0x05]
/** out 0xf4, al */
const EXIT = [0xe6, 0xf4]

const make = (code: readonly number[], options: Partial<MachineOptions> = {}): Promise<Machine> =>
  Machine.create({
    kernel: Uint8Array.from(code),
    kernelFormat: 'flat',
    memory: '1M',
    debugExit: { iobase: 0xf4, iosize: 4 },
    ...options,
  })

/**
 * Programs the PICs with base 8, unmasks line 3 with trigger `elcr`, writes to port 0x550 and halts. The handler of the interrupt reads
 * port 0x550, and after `count` interrupts the program sends their number to isa-debug-exit.
 */
const interrupted = (elcr: number, count: number): readonly number[] =>
  [
    ...[0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xd0, 0xbc, 0x00, 0x09, 0x31, 0xdb], // ds, ss and bx = 0; sp = 0x900
    ...[0xc7, 0x06, 0x2c, 0x00, 0x44, 0x10, 0xc7, 0x06, 0x2e, 0x00, 0x00, 0x00], // vector 0x0b is 0:0x1044
    ...[0xb0, 0x11, 0xe6, 0x20, 0xb0, 0x08, 0xe6, 0x21, 0xb0, 0x04, 0xe6, 0x21, 0xb0, 0x01, 0xe6, 0x21], // ICW1 to ICW4
    ...[0xb0, 0xf7, 0xe6, 0x21], // the mask
    ...[0xba, 0xd0, 0x04, 0xb0, elcr, 0xee], // the trigger
    ...[...AT_550, 0xfb, 0xee], // sti; out dx, al
    ...[0xfa, 0x80, 0xfb, count, 0x73, 0x04, 0xfb, 0xf4, 0xeb, 0xf6], // until bl = count: sti; hlt
    ...[0x88, 0xd8, ...EXIT], // mov al, bl
    ...[0xfe, 0xc3, 0xec, 0xb0, 0x20, 0xe6, 0x20, 0xcf], // 0x1044: inc bl; in al, dx; end of interrupt; iret
  ] as const

/** Adds a device that raises its line at a write. The third read lowers the line. */
const addRaiser = async (machine: Machine, irq: DeviceOptions['irq']): Promise<void> => {
  let reads = 0
  const device: MachineDevice = await machine.addDevice({
    pio: [0x550, 1],
    ...(irq !== undefined && { irq }),
    write: () => device.raise(),
    read: () => {
      if (++reads === 3) device.lower()
      return 0
    },
  })
}

for (const irqchip of ['on', 'split', 'off'] as const) {
  const options = { accel: `kvm,kernel-irqchip=${irqchip}` }

  test(`an edge of a device's line is one interrupt, with kernel-irqchip=${irqchip}`, async t => {
    await using machine = await make(interrupted(0, 1), options)
    await addRaiser(machine, 3)
    await machine.start()
    t.deepEqual(await machine.wait(), { reason: 'debug-exit', status: 3 })
  })

  test(`a level interrupts until the device lowers it, with kernel-irqchip=${irqchip}`, async t => {
    await using machine = await make(interrupted(8, 3), options)
    await addRaiser(machine, { line: 3, trigger: 'level' })
    await machine.start()
    t.deepEqual(await machine.wait(), { reason: 'debug-exit', status: 7 })
  })
}

test('a device in a worker raises its line', async t => {
  await using machine = await make(interrupted(0, 1))
  await machine.addDevice({ pio: [0x550, 1], irq: 3, worker: LINE_DEVICE })
  await machine.start()
  t.deepEqual(await machine.wait(), { reason: 'debug-exit', status: 3 })
})

const refusedLines: readonly (readonly [string, unknown, RegExp])[] = [
  ['COM1’s', 4, /line 4: the line belongs to another device\. Free lines are 1, 3, 6/],
  ['the PIT’s', 0, /line 0: the line belongs to another device/],
  ['that of a virtio device', 5, /line 5: the line belongs to another device/],
  ['pin 24', 24, /interrupt line 24: expected a whole number from 0 to 23/],
  ['a fraction', 1.5, /interrupt line 1\.5/],
  ['an unknown trigger', { line: 3, trigger: 'both' }, /irq\.trigger both: expected 'edge' or 'level'/],
  ['an unknown key', { line: 3, triger: 'edge' }, /unknown key 'irq\.triger'\. Did you mean 'trigger'\?/],
]

for (const [what, irq, message] of refusedLines) {
  test(`an interrupt line is refused: ${what}`, async t => {
    await using machine = await make(EXIT, { serial: 'null', rng: true })
    const device = { pio: [0x550, 1], read: () => 0, irq } as DeviceOptions
    await t.throwsAsync(machine.addDevice(device), { instanceOf: MachineConfigError, message })
    // The ports of a refused device are free.
    await machine.addDevice({ pio: [0x550, 1], read: () => 0 })
  })
}

test('two devices do not share a line, and pins of an IOAPIC do not exist without it', async t => {
  await using machine = await make(EXIT, { accel: 'kvm,kernel-irqchip=off' })
  await machine.addDevice({ pio: [0x550, 1], irq: 3, read: () => 0 })
  const second: DeviceOptions = { pio: [0x551, 1], irq: 3, read: () => 0 }
  await t.throwsAsync(machine.addDevice(second), { message: /line 3: the line belongs to another device/ })
  await t.throwsAsync(machine.addDevice({ ...second, irq: 16 }), { message: /line 16: the line does not exist/ })
})

test('raise() without irq is an error, and raise() after the end does nothing', async t => {
  const machine = await make(EXIT)
  const without = await machine.addDevice({ pio: [0x550, 1], read: () => 0, name: 'mute' })
  const error = t.throws(() => without.raise(), { instanceOf: MachineConfigError, message: /'mute' has no interrupt/ })
  t.regex(error.remedy ?? '', /irq/)
  const device = await machine.addDevice({ pio: [0x551, 1], irq: 3, read: () => 0 })
  await machine.stop()
  t.notThrows(() => (device.raise(), device.lower()))
  await t.throwsAsync(device.memory.read(0, 1), { instanceOf: MachineStateError })
})

test('a device reads and writes guest memory while its guest waits', async t => {
  // out dx, al; mov al, [0x2000]; out 0xf4, al
  const code = [...AT_550, 0xee, 0xa0, 0x00, 0x20, ...EXIT]
  await using machine = await make(code)
  let read: Uint8Array | undefined
  const device = await machine.addDevice({
    pio: [0x550, 1],
    write: async () => {
      read = await device.memory.read(0x1000n, code.length)
      const view = device.memory.view(0x1ff0, 0x20)
      await view.write(0x10, Uint8Array.of(33))
      t.deepEqual([...(await view.read(0xf, 3))], [0, 33, 0])
    },
  })
  await machine.start()
  t.deepEqual(await machine.wait(), { reason: 'debug-exit', status: 67 })
  t.deepEqual([...(read ?? [])], code)
})

test('the dirty log records what a device writes', async t => {
  await using machine = await make([0xf4])
  const device = await machine.addDevice({ pio: [0x550, 1], read: () => 0 })
  await machine.dirtyLog.start()
  await machine.dirtyLog.take()
  await device.memory.write(0x5000, Uint8Array.of(1))
  t.true((await machine.dirtyLog.take()).has(0x5000))
})

test('accesses outside RAM or outside a view are errors', async t => {
  await using machine = await make(EXIT)
  const { memory } = await machine.addDevice({ pio: [0x550, 1], read: () => 0 })
  const beyond = await t.throwsAsync(memory.read(0xf_fffe, 4), { instanceOf: GuestMemoryError })
  t.is(beyond.address, 0x10_0000n)
  await t.throwsAsync(memory.write(2n ** 64n - 1n, Uint8Array.of(1, 2)), { instanceOf: GuestMemoryError })
  for (const address of [-1, 1.5, 2n ** 64n, NaN]) {
    await t.throwsAsync(memory.read(address, 1), { instanceOf: ArgumentError, message: /invalid address/ })
  }
  for (const length of [-1, 0.5, 2 ** 22 + 1]) {
    await t.throwsAsync(memory.read(0, length), { instanceOf: ArgumentError, message: /invalid length/ })
  }
  const view = memory.view(0x2000, 16)
  await t.throwsAsync(view.read(15, 2), { code: 'ERR_ARGUMENT', message: /inside the window of 16 bytes/ })
  await t.throwsAsync(view.read(-1, 2), { code: 'ERR_ARGUMENT' })
  await t.throwsAsync(view.write(16, Uint8Array.of(1)), { code: 'ERR_ARGUMENT' })
  await t.throwsAsync(view.write(0, undefined as never), { code: 'ERR_ARGUMENT', message: /Uint8Array/ })
  t.throws(() => memory.view(2n ** 64n - 1n, 2), { code: 'ERR_ARGUMENT', message: /ends below 2\^64/ })
})

/** Without a latched value: latches 5 and resets the machine by the keyboard controller. Otherwise exits with the value. */
const RESETS = [...AT_550, 0xec, 0x3c, 0, 0x75, 9, 0xb0, 5, 0xee, 0xb0, 0xfe, 0xe6, 0x64, 0xeb, 0xfe, ...EXIT]

test('a reset by the guest calls the reset handler before the next access', async t => {
  await using machine = await make(RESETS)
  let latch = 0
  await machine.addDevice({
    pio: [0x550, 1],
    read: () => latch,
    write: (_offset, _size, value) => void (latch = Number(value)),
    reset: async () => {
      await new Promise(resolve => setTimeout(resolve, 20))
      t.is(latch, 5)
      latch = 9
    },
  })
  await machine.start()
  t.deepEqual(await machine.wait(), { reason: 'debug-exit', status: 19 })
})

test('a reset by the guest calls the reset handler of a worker', async t => {
  await using machine = await make(RESETS)
  await machine.addDevice({ pio: [0x550, 1], worker: LINE_DEVICE })
  await machine.start()
  t.deepEqual(await machine.wait(), { reason: 'debug-exit', status: 19 })
})

test('reset() calls the reset handler each time, also of a stopped machine', async t => {
  await using machine = await make(EXIT)
  let resets = 0
  await machine.addDevice({ pio: [0x550, 1], read: () => 0, reset: () => void resets++ })
  for (let n = 1; n <= 3; n++) {
    await machine.reset()
    t.is(resets, n)
  }
})

test('a reset handler that throws is a device-error and ends the machine', async t => {
  await using machine = await make(EXIT)
  const error = new Error('no power')
  await machine.addDevice({
    name: 'psu',
    pio: [0x550, 1],
    read: () => 0,
    reset: () => {
      throw error
    },
  })
  const failed = once(machine, 'device-error')
  // The machine may have ended before the reply to this command.
  await machine.reset().catch(() => {})
  t.deepEqual(await failed, [{ device: 'psu', error }])
  t.deepEqual(await machine.wait(), { reason: 'handler-error', cause: error })
})
