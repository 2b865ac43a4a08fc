// Tests the board's devices at fixed ports from inside a guest.

import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { GuestImageError, Machine, MachineConfigError, guestImage, type MachineOptions } from 'kvm-accel'
import { FIRMWARE, firmwareImages, kvm, requires } from '../helpers/requires.js'

const test = requires(kvm)

/** Returns what a guest prints on COM1 until it resets. */
const printed = async (name: string, options: Partial<MachineOptions> = {}): Promise<string> => {
  await using machine = await Machine.create({
    kernel: guestImage(name),
    memory: '16M',
    serial: 'stream',
    noReboot: true,
    ...options,
  })
  const output = text(machine.serial)
  await machine.start()
  await machine.wait()
  return await output
}

const testDevices = `long 0x12345678
word 0xabcd
byte 0xef
all 0x4321abef
bytes 0x13121110
bytes by a long 0xfedcba98
string 0x4040404
flushed 0x5a5a5a5a
requests 0x8
requests 0x28
requests 0x68
requests 0xe8
memory 0xaabbcc00
across pages 0x11223344
behind the crossing 0x1122
moved 0x20
stored 0x77777777
done
`

for (const irqchip of ['on', 'split', 'off'] as const) {
  test(`pc-testdev behaves as kvm-unit-tests expect, kernel-irqchip=${irqchip}`, async t => {
    t.is(await printed('test-devices', { accel: `kvm,kernel-irqchip=${irqchip}`, testDevices: true }), testDevices)
  })
}

test('without testDevices the ports of pc-testdev read all ones', async t => {
  t.regex(await printed('test-devices'), /^long 0xffffffff\n.*memory 0xffffffff\n.*moved 0x0\n/s)
})

test('a guest reads fw_cfg by ports and by DMA', async t => {
  const fwCfg = { 'opt/test': { string: 'a file of 27 characters, so' }, 'opt/other': new Uint8Array(100) }
  const output = await printed('fw-cfg', { cpus: 2, fwCfg })
  t.is(
    output,
    `signature 0x554d4551
id 0x3
cpus 0x2
cpus behind their end 0x2
ram 0x1000000
nothing 0x0
dma high 0x554d4551
dma low 0x47464320
file of 0x1b
a file of 27 characters, so
skip 0x0
read 0x0
ile of 27 characters, so
write 0x1
read to nowhere 0x1
done
`,
  )
})

test('an unassigned address space of PCI reads all ones', async t => {
  // mov dx, 0xcf8; mov eax, 0x80000000; out dx, eax; in eax, dx; mov ebx, eax; mov dl, 0xfc; in eax, dx; and eax, ebx; inc eax; out 0xf4, al
  const code = [0xba, 0xf8, 0x0c, 0x66, 0xb8, 0, 0, 0, 0x80, 0x66, 0xef, 0x66, 0xed, 0x66, 0x89, 0xc3, 0xb2, 0xfc]
  const rest = [0x66, 0xed, 0x66, 0x21, 0xd8, 0x66, 0x40, 0xe6, 0xf4]
  await using machine = await Machine.create({
    kernel: Uint8Array.from([...code, ...rest]),
    kernelFormat: 'flat',
    memory: '1M',
    debugExit: { iobase: 0xf4, iosize: 4 },
  })
  await machine.start()
  t.deepEqual(await machine.wait(), { reason: 'debug-exit', status: 1 })
})

/** Returns whether a device keeps the written value, at least in part. */
const answers = async (port: number, options: Partial<MachineOptions>): Promise<boolean> => {
  // mov dx, port; mov al, 0x5a; out dx, al; in al, dx; inc al; out 0xf4, al
  const code = [0xba, port & 0xff, port >> 8, 0xb0, 0x5a, 0xee, 0xec, 0xfe, 0xc0, 0xe6, 0xf4]
  await using machine = await Machine.create({
    kernel: Uint8Array.from(code),
    kernelFormat: 'flat',
    memory: '1M',
    debugExit: { iobase: 0xf4, iosize: 4 },
    ...options,
  })
  await machine.start()
  return (await machine.wait()).status !== 1
}

/** The PIC's mask, the PIT's port B, COM1's scratch register. */
const chips = async (options: Partial<MachineOptions>) => ({
  pic: await answers(0x21, options),
  pit: await answers(0x61, options),
  com1: await answers(0x3ff, options),
})

for (const kernelIrqchip of ['on', 'split', 'off'] as const) {
  test(`PIC, PIT and COM1 can be omitted, kernel-irqchip=${kernelIrqchip}`, async t => {
    const accel = { kernelIrqchip }
    t.deepEqual(await chips({ accel }), { pic: true, pit: true, com1: true })
    t.deepEqual(await chips({ accel, pit: false }), { pic: true, pit: false, com1: true })
    t.deepEqual(await chips({ accel, serials: [null] }), { pic: true, pit: true, com1: false })
    const without = chips({ accel, pic: false })
    if (kernelIrqchip === 'off') {
      await t.throwsAsync(without, { instanceOf: MachineConfigError, message: /pic=off exclude each other/ })
    } else {
      // The controllers in the kernel cannot be omitted.
      t.deepEqual(await without, { pic: kernelIrqchip === 'on', pit: true, com1: true })
    }
  })
}

test('a machine without COM1 has an empty serial stream and accepts writes; a machine without a PIT can be reset', async t => {
  await using machine = await Machine.create({ kernel: guestImage('triple-fault'), serials: [null], pit: false })
  t.deepEqual(machine.serials, [null])
  machine.serial.write('no port reads this')
  t.is(await text(machine.serial), '')
  const reset = new Promise(resolve => machine.once('reset', resolve))
  await machine.start()
  await reset
  await machine.stop()
})

test('an unreadable file of fw_cfg is refused', async t => {
  const create = (file: string) => Machine.create({ kernel: guestImage('hello'), fwCfg: { 'opt/test': { file } } })
  for (const file of ['/nonexistent', '/dev/zero']) {
    await t.throwsAsync(create(file), {
      instanceOf: MachineConfigError,
      message: new RegExp(`^fw_cfg file '${file}' `),
    })
  }
  const twice = { 'etc/e820': new Uint8Array(1) }
  await t.throwsAsync(Machine.create({ kernel: guestImage('hello'), fwCfg: twice }), { message: /already in use/ })
})

test('the guest is offered the TSC deadline timer', async t => {
  const [, , , ecx] = (await printed('cpuid', { append: 'leaf=1' })).split(' ')
  t.truthy(Number(ecx) & (1 << 24), ecx)
})

test('the CMOS clock starts at the given time, interrupts, and can be set', async t => {
  const output = await printed('rtc', { cpus: 2, memory: '64M', rtc: { base: '2031-05-06T07:08:09', clock: 'vm' } })
  const [date = '', ...rest] = output.split('\n')
  t.regex(date, /^date 203105060708(09|1\d)$/)
  t.deepEqual(rest, [
    ...[
      'status 0280',
      `memory 0280${(63 * 1024).toString(16)}030000000001`,
      'periodic came',
      'update came',
      'alarm came',
    ],
    ...['set 20000101000000', ''],
  ])
})

for (const irqchip of ['split', 'off'] as const) {
  test(`the CMOS clock interrupts, kernel-irqchip=${irqchip}`, async t => {
    t.regex(
      await printed('rtc', { accel: `kvm,kernel-irqchip=${irqchip}` }),
      /periodic came\nupdate came\nalarm came\n/,
    )
  })
}

test('COM2 to COM4 and the debug console write to their targets', async t => {
  const nothing = await printed('ports')
  t.is(nothing, 'COM2 not there\nCOM3 not there\nCOM4 not there\ndebug 0xff\n')
  await using machine = await Machine.create({
    kernel: guestImage('ports'),
    memory: '16M',
    noReboot: true,
    serials: ['stream', 'stream', null, 'stream'],
    append: 'debug=0x402',
    debugConsole: { port: 0x402, target: 'stream' },
  })
  const [com1, com2, com3, com4] = machine.serials
  t.is(com1, machine.serial)
  t.is(com3, null)
  const read = [com1, com2, com4, machine.debugConsole].map(port => (port ? text(port) : ''))
  await machine.start()
  await machine.wait()
  await machine.stop()
  const first = 'COM2 there\nCOM3 not there\nCOM4 there\ndebug 0xe9\n'
  t.deepEqual(await Promise.all(read), [first, 'I am COM2', 'I am COM4', 'I am debug'])
})

const seabios = requires(kvm, firmwareImages)

for (const image of ['bios.bin', 'bios-256k.bin', 'bios-microvm.bin']) {
  seabios(`${image} starts and reports on COM1 that it finds no boot device`, async t => {
    t.timeout(300_000)
    await using machine = await Machine.create({
      firmware: join(FIRMWARE, image),
      memory: '64M',
      cpus: 2,
      serial: 'stream',
      debugConsole: { port: 0x402, target: 'stream' },
    })
    const log = machine.debugConsole === null ? '' : text(machine.debugConsole)
    await machine.start()
    let screen = ''
    for await (const chunk of machine.serial) {
      screen += String(chunk)
      if (screen.includes('No bootable device')) break
    }
    await machine.stop()
    t.regex(screen, /SeaBIOS/)
    t.regex(await log, /Found 2 cpu\(s\) max supported 2 cpu\(s\)[^]*sercon: using ioport 0x3f8/)
  })
}

test('firmware of an invalid size is refused', async t => {
  const error = await t.throwsAsync(Machine.create({ firmware: new Uint8Array(1000) }), { instanceOf: GuestImageError })
  t.like(error, { image: 'firmware', problem: 'malformed' })
})

/** `in` from port 0x505 to COM1; `out` of `value` to port 0x505; then `hlt` without interrupts. */
const panics = (value: number): Uint8Array =>
  Uint8Array.of(0xba, 0x05, 0x05, 0xec, 0xba, 0xf8, 0x03, 0xee, 0xba, 0x05, 0x05, 0xb0, value, 0xee, 0xfa, 0xf4)

const panicking: MachineOptions = { kernel: panics(1), kernelFormat: 'flat', memory: '1M', serial: 'stream' }

test("a guest's panic ends the machine", async t => {
  await using machine = await Machine.create({ ...panicking, pvpanic: true })
  const output = text(machine.serial)
  await machine.start()
  t.deepEqual(await machine.wait(), { reason: 'guest-panicked' })
  t.is(machine.state, 'shutdown')
  t.is(await output, '\x01', 'it understands panics')
})

test('under noShutdown a panic stops the machine in guest-panicked, and it can be resumed or reset', async t => {
  await using machine = await Machine.create({ ...panicking, serial: 'null', pvpanic: true, noShutdown: true })
  const stops: unknown[] = []
  machine.on('stop', event => stops.push(event))
  await machine.start()
  t.deepEqual(await machine.wait(), { reason: 'guest-panicked' })
  t.is(machine.state, 'guest-panicked')
  t.deepEqual(stops, [{ state: 'guest-panicked', exit: { reason: 'guest-panicked' } }])
  const { general } = (await machine.vcpus[0]?.state()) ?? {}
  t.is(general?.rip, 0x100en, 'its write is complete')
  await machine.resume()
  await machine.pause()
  t.is(machine.state, 'paused')
  await machine.reset()
  await machine.start()
  t.deepEqual(await machine.wait(), { reason: 'guest-panicked' })
})

test('a crash kernel that takes over, and a machine without pvpanic, cause no panic event', async t => {
  for (const [kernel, pvpanic] of [
    [panics(2), true],
    [panics(1), false],
  ] as const) {
    await using machine = await Machine.create({ ...panicking, kernel, pvpanic, serial: 'null' })
    await machine.start()
    await machine.pause()
    t.is(machine.state, 'paused')
  }
})

test('the machine generation is at the address that ACPI names', async t => {
  const vmGenerationId = '324e6eaf-d1d1-4bf6-bf41-b9bb6c91fb87'
  const options = { kernel: guestImage('hello'), memory: '16M', serial: 'null' } as const
  await using machine = await Machine.create({ ...options, vmGenerationId })
  const tables = Buffer.from(await machine.debug.readMemory(0xe0000n, 0x2000, { physical: true }))
  const name = tables.indexOf('ADDR')
  const address = tables.readUInt32LE(name + 8)
  const id = await machine.debug.readMemory(BigInt(address), 16, { physical: true })
  t.is(Buffer.from(id).toString('hex'), 'af6e4e32d1d1f64bbf41b9bb6c91fb87')
  t.true(tables.includes('VM_Gen_Counter'))
  const random = async (): Promise<string> => {
    await using other = await Machine.create({ ...options, vmGenerationId: 'auto' })
    return Buffer.from(await other.debug.readMemory(BigInt(address), 16, { physical: true })).toString('hex')
  }
  t.not(await random(), await random())
})
