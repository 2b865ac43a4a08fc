import test from 'ava'
import { report } from '../../ts/cli/doctor/doctor.js'
import { doctorText } from '../../ts/cli/doctor/doctor-text.js'
import { choosePaint } from '../../ts/cli/process/paint.js'
import { KvmUnavailableError } from '../../ts/errors/index.js'
import { capabilities, type HostFacts } from '../../ts/host/index.js'

const facts: HostFacts = {
  platform: 'linux',
  arch: 'x64',
  kernel: '6.12.0',
  cpu: 'A CPU',
  device: { path: '/dev/kvm', node: { isCharacterDevice: true, mode: 0o660, uid: 0, gid: 104 }, openError: null },
  cpuFlags: new Set(['vmx']),
  kvmModules: ['kvm_intel', 'kvm'],
  container: null,
  uid: 1000,
  deviceGroup: 'kvm',
}

const everything = capabilities.map(({ number }) => [number, 1])

test('a complete host has no problem', t => {
  const found = report(facts, { apiVersion: 12, capabilities: everything }, null)
  t.true(found.ok)
  t.is(found.problem, null)
  const text = doctorText(found)
  t.regex(text, /API version +12/)
  t.regex(text, /yes 219 KVM_CAP_X86_NOTIFY_VMEXIT/)
  t.regex(text, /Guests can run on this host\./)
  t.false(text.includes('\u001b'))
})

test('doctor reports the effect of a missing capability, and guests run without an optional one', t => {
  const found = report(facts, { apiVersion: 12, capabilities: everything.filter(([number]) => number !== 219) }, null)
  t.true(found.ok)
  t.regex(doctorText(found), /no {2}219 KVM_CAP_X86_NOTIFY_VMEXIT +notify-vmexit has no effect/)
})

test('no guest runs without a required capability', t => {
  const found = report(facts, { apiVersion: 12, capabilities: everything.filter(([number]) => number !== 32) }, null)
  t.false(found.ok)
  t.is(found.problem?.code, 'ERR_KVM_CAPABILITY')
  t.regex(doctorText(found), /Guests cannot run on this host: .*KVM_CAP_IRQFD \(32\)/)
})

test('a host without the device has no capabilities', t => {
  const problem = new KvmUnavailableError('there is no /dev/kvm', { reason: 'no-device', remedy: 'Load it.' })
  const found = report({ ...facts, device: { path: '/dev/kvm', node: null, openError: 'ENOENT' } }, null, problem)
  t.like(found, { ok: false, apiVersion: null, capabilities: [], problem: { reason: 'no-device', remedy: 'Load it.' } })
  t.regex(doctorText(found), /\/dev\/kvm does not exist[^]*there is no \/dev\/kvm\.\n {2}Load it\./)
})

test('colours appear only on terminals, and not with NO_COLOR', t => {
  const painted = (stream: { isTTY?: boolean }, env: NodeJS.ProcessEnv) => choosePaint(stream, env).good('x') !== 'x'
  t.true(painted({ isTTY: true }, { TERM: 'xterm' }))
  t.true(painted({ isTTY: true }, { NO_COLOR: '' }))
  t.false(painted({ isTTY: true }, { NO_COLOR: '1' }))
  t.false(painted({ isTTY: true }, { TERM: 'dumb' }))
  t.false(painted({}, {}))
})
