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

test('a guest that sleeps goes on at its waking vector, in real mode, with its memory as it was', async t => {
  await using machine = await Machine.create({ kernel: guestImage('spin'), debugExit: true, noReboot: true, cpus: 2 })
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
  // mov byte [0x8000], 0x2a; mov dx, 0x602; mov ax, 0x400; out dx, ax; mov dx, 0x604; mov ax, 0x2400; out dx, ax; jmp $
  const sleep = [0xc6, 0x05, 0x00, 0x80, 0x00, 0x00, 0x2a, 0x66, 0xba, 0x02, 0x06, 0x66, 0xb8, 0x00, 0x04, 0x66, 0xef]
  const rest = [0x66, 0xba, 0x04, 0x06, 0x66, 0xb8, 0x00, 0x24, 0x66, 0xef, 0xeb, 0xfe]
  const { rip } = (await machine.vcpus[0]!.state()).general
  await machine.debug.writeMemory(rip, Uint8Array.from([...sleep, ...rest]))
  await machine.start()
  // No alarm is set; a machine that is paused wakes, too.
  const ended = machine.wait().then(() => true)
  while (!(await Promise.race([ended, setTimeout(100, false)]))) {
    await machine.pause()
    t.is(machine.state, 'paused')
    await machine.resume()
  }
  t.deepEqual(await machine.wait(), { reason: 'debug-exit', status: (0x2a << 1) | 1 })
})
