// What a program learns from a machine object and from its errors.

import { writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { once } from 'node:events'
import { join } from 'node:path'
import { inspect } from 'node:util'
import { pathToFileURL } from 'node:url'
import { Machine, guestImage, run, type MachineOptions } from 'kvm-accel'
import { scratch } from '../helpers/paths.js'
import { kvm, passt, requires } from '../helpers/requires.js'
import { run as spawn } from '../helpers/spawn.js'

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

requires(kvm, passt)('hostPort 0 chooses free ports, and options has them', async t => {
  const forwards = [
    { hostAddress: '127.0.0.1', hostPort: 0, guestPort: 80 },
    { hostPort: 0, guestPort: 81 },
    { protocol: 'udp', hostPort: 0, guestPort: 82 },
  ] as const
  const kernel = guestImage('spin')
  const machine = await Machine.create({ kernel, memory: '16M', networks: [{ backend: { user: { forwards } } }] })
  const backend = machine.options.networks?.[0]?.backend
  const chosen = backend && 'user' in backend && backend.user !== true ? (backend.user.forwards ?? []) : []
  t.deepEqual(
    chosen.map(({ guestPort }) => guestPort),
    [80, 81, 82],
  )
  t.is(new Set(chosen.map(({ hostPort }) => hostPort)).size, 3)
  const [port = 0] = chosen.map(({ hostPort }) => hostPort)
  t.true(port > 0)
  const taken = createServer().listen({ port, host: '127.0.0.1' })
  const [error] = (await once(taken, 'error')) as [NodeJS.ErrnoException]
  t.is(error.code, 'EADDRINUSE')
  await machine.stop()
})

test('a hostPort 0 at an address of another host is an error', async t => {
  const forwards = [{ hostAddress: '192.0.2.1', hostPort: 0, guestPort: 80 }]
  const created = Machine.create({ kernel: guestImage('spin'), networks: [{ backend: { user: { forwards } } }] })
  await t.throwsAsync(created, { code: 'ERR_MACHINE_CONFIG', message: /free port for hostPort 0 at 192\.0\.2\.1/ })
})

test('without descriptors every error of a creation has a code and names ulimit -n', async t => {
  t.timeout(300_000)
  const disk = join(scratch(), 'limits.img')
  writeFileSync(disk, new Uint8Array(1 << 16))
  const kernel = join(scratch(), 'limits.kernel')
  writeFileSync(kernel, guestImage('spin'))
  const script = `
    import { closeSync, openSync } from 'node:fs'
    import { KvmAccelError, Machine } from 'kvm-accel'
    const options = {
      kernel: ${JSON.stringify(kernel)}, memory: '16M', cpus: 2, serial: { file: '/dev/null' },
      disks: [{ path: ${JSON.stringify(disk)} }], rng: true, balloon: true, vsock: { cid: 3 },
      consoles: [{ target: 'stream' }], fwCfg: { 'opt/x': { file: ${JSON.stringify(disk)} } },
    }
    await (await Machine.create(options)).stop()
    const open = []
    try { for (;;) open.push(openSync('/dev/null')) } catch {}
    let refused = 0
    for (;;) {
      try {
        await (await Machine.create(options)).stop()
        break
      } catch (error) {
        refused++
        if (!(error instanceof KvmAccelError) || !/ulimit -n/.test(error.remedy)) console.log(String(error), error.remedy)
      }
      closeSync(open.pop())
    }
    if (refused < 20) console.log('only', refused, 'attempts were refused')
  `
  const node = [process.execPath, '--input-type=module', '-e', script]
  const { status, stdout, stderr } = await spawn('sh', ['-c', 'ulimit -n 200; exec "$@"', 'sh', ...node], {
    limit: 250,
  })
  t.deepEqual({ status, stdout, stderr }, { status: 0, stdout: '', stderr: '' })
})
