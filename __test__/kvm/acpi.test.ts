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
