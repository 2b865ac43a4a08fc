import { randomBytes } from 'node:crypto'
import type { MachineOptions } from '../../ts/machine/config/machine-options.js'
import { normaliseMachineOptions } from '../../ts/machine/config/normal-options.js'
import { errorOf, native, unwrap } from '../../ts/native/native.js'
import { StagedBytes } from '../../ts/native/staged-bytes.js'
import { toNative } from '../../ts/machine/lifecycle/to-native.js'
import { MachineConfigError } from '../../ts/errors/options/machine-config-error.js'
import { kvm, requires } from '../helpers/requires.js'

const test = requires(kvm)

/** Options with one of every device. Their files do not exist. */
const whole: MachineOptions = {
  accel: { notifyVmexit: 'run', notifyBudget: '3/1', kvmShadowMem: '4M' },
  kernel: new Uint8Array(4),
  initrd: [{ image: '/none', cmdline: 'first' }, { image: new Uint8Array(2) }],
  memory: { size: '64M', backend: 'memfd', hugePages: '2M' },
  cpus: 2,
  cpu: 'host,-avx2',
  msrFilter: [{ index: 0x10, read: 2n ** 64n - 1n, write: () => {} }],
  serials: ['stdio', null, { file: '/none' }, { socket: '/none', server: true }],
  debugConsole: { target: 'null' },
  rtc: { base: 'localtime', clock: 'vm' },
  debugExit: { iobase: 0xf4, iosize: 4 },
  fwCfg: { 'opt/a': { file: '/none' }, 'opt/b': { string: 'é' }, 'opt/c': new Uint8Array(3) },
  vmGenerationId: 'auto',
  disks: [{ path: '/none', format: 'qcow2', throttle: { bytesPerSecond: 1, bytesPerSecondMax: 2 } }],
  networks: [
    { backend: { tap: 'none' } },
    { backend: { user: { forwards: [{ hostPort: 8080, guestPort: 80, hostAddress: '127.0.0.1' }] } }, mtu: 9000 },
    { backend: { user: true } },
    { backend: { stream: '/none' } },
  ],
  rng: { maxBytes: 1024 },
  vsock: { cid: 3 },
  balloon: true,
  consoles: [{ target: 'stream' }, { target: 'pty', name: 'agent' }],
  trace: 'kvm_*',
  name: 'program',
}

/** Returns the JSON of a machine with these options, and the native object that reads it. */
function wire(options: MachineOptions) {
  const normal = normaliseMachineOptions(options)
  const machine = unwrap(native().startMachine())
  const json = toNative(normal, normal.accel.candidates[0]!, new StagedBytes())
  return { machine, json }
}

test('the addon accepts every machine option', t => {
  const { machine, json } = wire(whole)
  const error = machine.create(json)
  machine.close()
  t.is(error && errorOf(error).message, null)
})

test('an option that the addon does not know is an error that names it', t => {
  const { machine, json } = wire({ kernel: '/none' })
  const error = errorOf(machine.create(JSON.stringify({ ...JSON.parse(json), surplus: true }))!)
  machine.close()
  t.true(error instanceof MachineConfigError)
  t.is((error as MachineConfigError).option, 'surplus')
})

test('a machine takes a copy of bytes once, and another use of the array is copied again', async t => {
  const bytes = randomBytes(3 * 2 ** 20)
  using staged = new StagedBytes()
  await staged.stage([bytes, bytes], null)
  const [first, second] = [staged.copy(bytes), staged.copy(bytes)]
  t.not(first.bytes, second.bytes)
  const normal = normaliseMachineOptions({ kernel: bytes, initrd: bytes })
  const machine = unwrap(native().startMachine())
  const json = JSON.parse(toNative(normal, normal.accel.candidates[0]!, staged)) as { kernel: object }
  t.is(machine.create(JSON.stringify({ ...json, kernel: first })), null)
  machine.close()
  const again = unwrap(native().startMachine())
  const error = errorOf(again.create(JSON.stringify({ ...json, kernel: first }))!)
  again.close()
  t.true(error instanceof MachineConfigError)
  t.regex(error.message, /unknown token \d+/)
})
