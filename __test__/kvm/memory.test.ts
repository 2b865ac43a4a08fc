import { once } from 'node:events'
import { readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Machine, MachineConfigError, guestImage, type MachineOptions, type MemoryOptions } from 'kvm-accel'
import { cli, scratch } from '../helpers/paths.js'
import { guestFile } from '../helpers/guest-file.js'
import { interpose } from '../helpers/interpose.js'
import { kvm, preload, requires } from '../helpers/requires.js'
import { run } from '../helpers/spawn.js'

const test = requires(kvm)
const MiB = 1024 * 1024

const make = (guest: string, memory: MemoryOptions, options: Partial<MachineOptions> = {}): Promise<Machine> =>
  Machine.create({ kernel: guestImage(guest), memory, noReboot: true, ...options })

/** Real-mode code that reads its memory at 1 MiB minus 32 KiB in an endless loop. */
const reader = Uint8Array.from([0xb8, 0x00, 0xf8, 0x8e, 0xd8, 0xa0, 0, 0, 0xeb, 0xfb])

const backends: readonly MemoryOptions[] = [
  { size: '16M' },
  { size: '16M', share: true, prealloc: true },
  { size: '16M', backend: 'memfd' },
  { size: '16M', backend: 'memfd', share: false },
  { size: '16M', path: '/dev/shm' },
]

for (const memory of backends) {
  test(`a guest runs in memory of ${JSON.stringify(memory)}`, async t => {
    const machine = await make('hello', memory)
    await machine.start()
    t.is((await machine.wait()).reason, 'guest-reset')
    await machine.stop()
  })
}

test('the guest’s writes reach a shared file, and do not reach a private one', async t => {
  for (const share of [true, false]) {
    const path = join(scratch(), `ram-${share}`)
    // The image itself lies in RAM.
    const machine = await make('hello', { size: '4M', path, share })
    await machine.start()
    await machine.wait()
    await machine.stop()
    t.is(statSync(path).size, 4 * MiB)
    t.is(readFileSync(path).includes('Hello from a guest'), share)
  }
})

test('a file that is not usable as guest memory is refused before the machine exists', async t => {
  const path = join(scratch(), 'short')
  writeFileSync(path, new Uint8Array(MiB))
  const error = await t.throwsAsync(make('hello', { size: '2M', path }), { instanceOf: MachineConfigError })
  t.is(error?.option, 'memory')
  t.regex(error?.message ?? '', /is too short with 1048576 bytes: expected the 2097152 bytes of memory/)
  t.regex(error?.remedy ?? '', /Use a file/)
})

/** Free huge pages of 2 MiB. The second host has some. */
const freeHugePages = (): number => {
  try {
    return Number(readFileSync('/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages', 'utf8'))
  } catch {
    return 0
  }
}

for (const backend of ['anonymous', 'memfd'] as const) {
  test(`huge pages, ${backend}: they work if the host has them; otherwise the error has the number of missing pages`, async t => {
    const free = freeHugePages()
    const creating = make('hello', { size: '16M', backend, hugePages: true })
    if (free < 8) {
      const message =
        /huge pages of 2048 KiB, (?:which the host's kernel does not support|but the host has \d+ free pages)/
      await t.throwsAsync(creating, { instanceOf: MachineConfigError, message })
      return
    }
    const machine = await creating
    await machine.start()
    t.is((await machine.wait()).reason, 'guest-reset')
    await machine.stop()
  })
}

test('a memory file truncated under a guest stops that machine alone, with the address', async t => {
  const path = join(scratch(), 'truncated')
  const other = await make('spin', { size: '16M' })
  await other.start()
  const options = { kernel: reader, kernelFormat: 'flat' } as const
  const machine = await make('spin', { size: '1M', path, share: true }, options)
  await machine.start()
  const stopped = once(machine, 'stop')
  truncateSync(path, MiB / 2)
  await stopped
  t.is(machine.state, 'internal-error')
  const { reason, detail } = await machine.wait()
  t.is(reason, 'internal-error')
  t.regex(detail ?? '', /guest memory at 0x(?:f8000|80000) is lost: its file was truncated to 524288 bytes/)
  await t.throwsAsync(machine.reset(), { instanceOf: MachineConfigError, message: /is lost/ })
  t.is(machine.state, 'internal-error')
  t.is(other.state, 'running')
  await Promise.all([machine.stop(), other.stop()])
})

test('a reset of a running machine whose memory is lost leaves it in internal-error', async t => {
  const path = join(scratch(), 'reset')
  // The guest spins in its first page and does not access the lost pages. The image extends beyond the truncation.
  const kernel = new Uint8Array(64 * 1024)
  kernel.set([0xeb, 0xfe])
  const machine = await make('spin', { size: '1M', path, share: true }, { kernel, kernelFormat: 'flat' })
  await machine.start()
  truncateSync(path, 32 * 1024)
  await t.throwsAsync(machine.reset(), { message: /guest memory at 0x[0-9a-f]+ is lost/ })
  t.is(machine.state, 'internal-error')
  t.regex((await machine.wait()).detail ?? '', /is lost/)
  await machine.stop()
})

const slots = requires(kvm, preload)

slots('-mem-path and -mem-prealloc behave as in QEMU, and memory is one slot in the order of start-up', async t => {
  const { env, calls } = interpose('cap219')
  const path = join(scratch(), 'mem-path')
  const machine = ['-m', '16M', '-mem-path', path, '-mem-prealloc', '-kernel', guestFile('hello'), '-no-reboot']
  const { status, stderr } = await run(process.execPath, [cli, 'run', ...machine], { env })
  t.is(status, 0, stderr)
  t.is(statSync(path).size, 16 * MiB)
  t.false(readFileSync(path).includes('Hello from a guest'), 'a private mapping does not write the file')
  t.is(calls().filter(({ ioctl }) => ioctl === 'KVM_SET_USER_MEMORY_REGION').length, 1)
})
