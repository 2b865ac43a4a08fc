import { spawnSync } from 'node:child_process'
import { interpose } from '../helpers/interpose.js'
import { root } from '../helpers/paths.js'
import { kvm, requires } from '../helpers/requires.js'

const test = requires(kvm)

const script = `
  import { Machine, guestImage } from 'kvm-accel'
  const options = { memory: '16M', kernel: guestImage('hello'), noReboot: true, busLockRatelimit: 2 }
  const machine = await Machine.create(options)
  const locks = []
  machine.on('bus-lock', ({ vcpu, rip, total, throttled }) => locks.push([vcpu, rip > 0n, total, throttled > 0]))
  await machine.start()
  const { reason } = await machine.wait()
  const { busLocks, exits } = machine.counters()
  await machine.stop()
  console.log(JSON.stringify({ reason, locks, busLocks, exits: exits['bus-lock'] }))
`

test('bus-lock exits are enabled, emitted, counted and throttled', t => {
  const { env, calls } = interpose('cap:193=3;buslock:after=3,every=2,count=2')
  const argv = ['--input-type=module', '-e', script]
  const { stdout, stderr } = spawnSync(process.execPath, argv, {
    cwd: root,
    env: { ...process.env, ...env },
    encoding: 'utf8',
  })
  t.deepEqual(JSON.parse(stdout || JSON.stringify(stderr)), {
    reason: 'guest-reset',
    locks: [
      [0, true, 1, false],
      [0, true, 2, true],
    ],
    busLocks: [2],
    exits: 2,
  })
  const enabled = calls().filter(({ ioctl, cap }) => ioctl === 'KVM_ENABLE_CAP' && cap === 193)
  t.deepEqual(
    enabled.map(({ arg }) => arg),
    ['0x2'],
  )
})
