import { setTimeout } from 'node:timers/promises'
import { Machine, guestImage } from 'kvm-accel'
import { kvm, requires } from '../helpers/requires.js'

const test = requires(kvm)

const ROOT_POINTER = 0xe0000

for (const acpi of [true, false]) {
  test(acpi ? 'guests find ACPI’s tables where they search' : 'acpi: false leaves no tables', async t => {
    for (const format of ['pvh', 'multiboot'] as const) {
      await using machine = await Machine.create({ kernel: guestImage('hello', { format }), acpi })
      const found = async () => Buffer.from(await machine.debug.readMemory(ROOT_POINTER, 8)).toString('latin1')
      t.is(await found(), acpi ? 'RSD PTR ' : '\0'.repeat(8))
      if (!acpi) continue
      await machine.debug.writeMemory(ROOT_POINTER, new Uint8Array(8))
      await machine.reset()
      t.is(await found(), 'RSD PTR ', 'a reset brings them back')
    }
  })

  for (const irqchip of ['on', 'split', 'off'] as const) {
    test(`a guest powers off by PM1a control with acpi: ${acpi} and kernel-irqchip=${irqchip}`, async t => {
      // mov dx, 0x604; mov ax, 0x2000; out dx, ax; hlt
      const kernel = Uint8Array.of(0xba, 0x04, 0x06, 0xb8, 0x00, 0x20, 0xef, 0xf4)
      await using machine = await Machine.create({
        kernel,
        kernelFormat: 'flat',
        acpi,
        accel: { kernelIrqchip: irqchip },
      })
      await machine.start()
      t.deepEqual(await machine.wait(), { reason: 'guest-shutdown' })
    })
  }
}

/** mov byte [0x8000], 0x2a */
const MARK = [0xc6, 0x05, 0x00, 0x80, 0x00, 0x00, 0x2a]
/**
 * Sets the clock's alarm to every second: all ones in the alarm's seconds, minutes and hours, and
 * 0x22 in register B.
 */
const ALARM = [
  [0x01, 0xff],
  [0x03, 0xff],
  [0x05, 0xff],
  [0x0b, 0x22],
].flatMap(([index = 0, value = 0]) => [
  // mov al, index; out 0x70, al; mov al, value; out 0x71, al
  ...[0xb0, index, 0xe6, 0x70, 0xb0, value, 0xe6, 0x71],
])
/** mov dx, 0x602; mov ax, 0x400; out dx, ax; mov dx, 0x604; mov ax, 0x2400; out dx, ax */
const SLEEP = [
  ...[0x66, 0xba, 0x02, 0x06, 0x66, 0xb8, 0x00, 0x04, 0x66, 0xef],
  ...[0x66, 0xba, 0x04, 0x06, 0x66, 0xb8, 0x00, 0x24, 0x66, 0xef],
]
/** jmp $ */
const REST = [0xeb, 0xfe]

/**
 * Creates a machine of two vCPUs whose guest runs `code` first and ends the machine at the waking
 * vector. Also returns the code's address.
 */
const sleeper = async (code: readonly number[]) => {
  const machine = await Machine.create({
    kernel: guestImage('spin'),
    debugExit: { iobase: 0xf4, iosize: 4 },
    noReboot: true,
    cpus: 2,
  })
  const read = async (address: number, length: number) => {
    const bytes = await machine.debug.readMemory(address, length)
    return new DataView(bytes.buffer, bytes.byteOffset)
  }
  const rsdt = (await read(ROOT_POINTER, 36)).getUint32(16, true)
  const fadt = (await read(rsdt, 40)).getUint32(36, true)
  const facs = (await read(fadt, 116)).getUint32(36, true)
  await machine.debug.writeMemory(facs + 12, Uint8Array.of(0x04, 0x80, 0, 0))
  // mov ax, 0x2a: the memory at 0x8000, which the guest writes before it sleeps; out 0xf4, eax
  await machine.debug.writeMemory(0x8004, Uint8Array.of(0x66, 0x2e, 0xa1, 0x00, 0x00, 0x66, 0xe7, 0xf4, 0xf4))
  const { rip } = (await machine.vcpus[0]!.state()).general
  await machine.debug.writeMemory(rip, Uint8Array.from(code))
  return { machine, rip }
}

test('a guest that wakes up continues at its waking vector, in real mode, with unchanged memory', async t => {
  await using machine = (await sleeper([...MARK, ...ALARM, ...SLEEP, ...REST])).machine
  await machine.start()
  t.deepEqual(await machine.wait(), { reason: 'debug-exit', status: (0x2a << 1) | 1 })
})

test('a guest that sleeps stays asleep when the machine is paused and resumed', async t => {
  const { machine: created, rip } = await sleeper([...MARK, ...SLEEP, ...REST])
  await using machine = created
  const asleep = BigInt(rip) + BigInt(MARK.length + SLEEP.length)
  const pausedAt = async () => {
    await machine.pause()
    t.is(machine.state, 'paused')
    return (await machine.vcpus[0]!.state()).general.rip
  }
  await machine.start()
  while ((await pausedAt()) !== asleep) await machine.resume()
  for (let pauses = 0; pauses < 20; pauses++) {
    await machine.resume()
    await setTimeout(5)
    t.is(await pausedAt(), asleep)
  }
  await machine.reset()
  t.is((await machine.vcpus[0]!.state()).general.rip, rip, 'a reset ends the sleep')
})
