// What a program learns from a machine object and from its errors.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { inspect } from 'node:util'
import { pathToFileURL } from 'node:url'
import { Machine, guestImage, run, type MachineOptions } from 'kvm-accel'
import { scratch } from '../helpers/paths.js'
import { kvm, requires } from '../helpers/requires.js'

const test = requires(kvm)

test('inspect() shows name, run state, vCPUs, memory and devices in a few lines', async t => {
  const disk = join(scratch(), 'shown.img')
  writeFileSync(disk, new Uint8Array(1 << 16))
  const machine = await Machine.create({
    name: 'web',
    kernel: guestImage('spin'),
    memory: '16M',
    cpus: 2,
    serial: 'stream',
    disks: [{ path: disk }],
    vsock: { cid: 3 },
    rng: true,
  })
  await machine.addDevice({ name: 'latch', pio: [0x550, 1], read: () => 0 })
  const text = inspect(machine)
  const shown = [
    "name: 'web'",
    "state: 'prelaunch'",
    'vcpus: 2',
    "memory: '16M'",
    "'COM1: stream'",
    `'disk: ${disk}'`,
    "'vsock: CID 3'",
    "'rng'",
    "'JavaScript: latch'",
  ]
  for (const part of shown) t.true(text.includes(part), `${part} in ${text}`)
  t.true(text.startsWith('Machine {') && text.split('\n').length <= 16, text)
  t.regex(inspect({ deep: { machine } }), /Machine/)
  await machine.stop()
  t.regex(inspect(machine), /state: 'shutdown'/)
})

test('name and options can be read, and the options create the same machine', async t => {
  const given: MachineOptions = { kernel: guestImage('hello'), memory: '16M', noReboot: true, signal: undefined }
  await using first = await Machine.create(given)
  t.is(first.name, null)
  const { options } = first
  t.like(options, { kernel: given.kernel, noReboot: true, serial: 'null' })
  await using second = await Machine.create({ ...options, name: 'second' })
  t.is(second.name, 'second')
  t.deepEqual({ ...second.options, name: undefined }, { ...options, name: undefined })
  // A copy: a change has no effect on the machine.
  ;(first.options as { noReboot: boolean }).noReboot = false
  t.true(first.options.noReboot)
})

test('a file: URL is a path', async t => {
  const kernel = join(scratch(), 'a kernel')
  writeFileSync(kernel, guestImage('hello'))
  const file = pathToFileURL(join(scratch(), 'url output'))
  const { output } = await run({ kernel: pathToFileURL(kernel), noReboot: true, debugConsole: { target: { file } } })
  t.regex(output, /Goodbye/)
  const missing = Machine.create({ kernel: pathToFileURL('/nonexistent/kernel') })
  await t.throwsAsync(missing, { code: 'ERR_GUEST_IMAGE', message: /'\/nonexistent\/kernel'/ })
  for (const url of ['https://example.org/kernel', 'file://elsewhere/kernel']) {
    const wrong = Machine.create({ kernel: new URL(url) })
    await t.throwsAsync(wrong, { code: 'ERR_MACHINE_CONFIG', message: new RegExp(`'${url}' .*a file: URL`) })
  }
})

test('a hostPort 0 at an address of another host is an error', async t => {
  const forwards = [{ hostAddress: '192.0.2.1', hostPort: 0, guestPort: 80 }]
  const created = Machine.create({ kernel: guestImage('spin'), networks: [{ backend: { user: { forwards } } }] })
  await t.throwsAsync(created, { code: 'ERR_MACHINE_CONFIG', message: /free port for hostPort 0 at 192\.0\.2\.1/ })
})
