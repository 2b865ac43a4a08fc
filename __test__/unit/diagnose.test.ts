import test from 'ava'
import {
  capabilities,
  collectHostFacts,
  diagnoseKvm,
  explainUnavailable,
  reportCapabilities,
  type HostFacts,
} from '../../ts/host/index.js'
import { KvmUnavailableError, MachineConfigError } from '../../ts/errors/index.js'

const node = { isCharacterDevice: true, mode: 0o660, uid: 0, gid: 104 }
const absent = { path: '/dev/kvm', node: null, openError: 'ENOENT' }
const opening = (openError: string | null) => ({ path: '/dev/kvm', node, openError })

const healthy: HostFacts = {
  platform: 'linux',
  arch: 'x64',
  kernel: '6.12.0',
  cpu: 'A CPU',
  device: opening(null),
  cpuFlags: new Set(['vmx']),
  kvmModules: ['kvm', 'kvm_intel'],
  container: null,
  uid: 1000,
  deviceGroup: 'kvm',
}

test('a healthy host has no problem', t => t.is(diagnoseKvm(healthy), undefined))

test('a device that opens is sufficient, whatever the CPU reports', t => {
  t.is(diagnoseKvm({ ...healthy, cpuFlags: new Set(), kvmModules: [], container: 'docker' }), undefined)
})

const rows: readonly (readonly [
  name: string,
  facts: Partial<HostFacts>,
  reason: string,
  message: RegExp,
  remedy: RegExp,
])[] = [
  ['another system', { platform: 'darwin', arch: 'arm64' }, 'unsupported-platform', /darwin/, /Linux/],
  ['another architecture', { arch: 'arm64' }, 'unsupported-platform', /arm64/, /x86-64/],
  [
    'a container without the device',
    { device: absent, container: 'docker' },
    'container',
    /docker/,
    /--device \/dev\/kvm/,
  ],
  [
    'no VMX or SVM',
    { device: absent, cpuFlags: new Set(), kvmModules: [] },
    'no-virtualization',
    /VMX nor SVM/,
    /firmware/,
  ],
  [
    'no nested virtualization',
    { device: absent, cpuFlags: new Set(['hypervisor']), kvmModules: [] },
    'no-virtualization',
    /VMX nor SVM/,
    /nested/,
  ],
  ['module missing on Intel', { device: absent, kvmModules: [] }, 'no-device', /no KVM module/, /modprobe kvm_intel/],
  [
    'module missing on AMD',
    { device: absent, cpuFlags: new Set(['svm']) },
    'no-device',
    /no KVM module/,
    /modprobe kvm_amd/,
  ],
  ['WSL', { device: absent, kernel: '5.15.0-microsoft-standard-WSL2' }, 'no-device', /WSL/, /nestedVirtualization/],
  ['a node without a driver', { device: opening('ENXIO') }, 'no-device', /ENXIO/, /modprobe kvm_intel/],
  ['not in the group', { device: opening('EACCES') }, 'no-permission', /EACCES \(mode 660, kvm\)/, /usermod -aG kvm/],
  [
    'a device for root alone',
    { device: { path: '/dev/kvm', node: { ...node, mode: 0o600, gid: 0 }, openError: 'EACCES' }, deviceGroup: 'root' },
    'no-permission',
    /mode 600, root/,
    /setfacl/,
  ],
  ['a nameless group', { device: opening('EACCES'), deviceGroup: null }, 'no-permission', /group 104/, /setfacl/],
  ['root in a container', { device: opening('EPERM'), uid: 0, container: 'podman' }, 'container', /podman/, /--device/],
  ['root against a security module', { device: opening('EPERM'), uid: 0 }, 'no-permission', /EPERM/, /security module/],
  ['another hypervisor', { device: opening('EBUSY') }, 'unknown', /EBUSY/, /VirtualBox/],
  ['too many files', { device: opening('EMFILE') }, 'unknown', /EMFILE/, /ulimit/],
  ['any other error', { device: opening('EIO') }, 'unknown', /EIO/, /dmesg/],
  [
    'a file instead of a device',
    { device: { path: '/tmp/x', node: { ...node, isCharacterDevice: false }, openError: 'ENODEV' } },
    'no-device',
    /\/tmp\/x is not a device/,
    /'device'/,
  ],
]

for (const [name, facts, reason, message, remedy] of rows) {
  test(`diagnosis: ${name}`, t => {
    const error = diagnoseKvm({ ...healthy, ...facts })
    t.is(error?.reason, reason as KvmUnavailableError['reason'])
    t.regex(error?.message ?? '', message)
    t.regex(error?.remedy ?? '', remedy)
  })
}

test('facts are collected without an exception, also from a path that is not a device', async t => {
  const facts = await collectHostFacts('/nonexistent/kvm')
  t.is(facts.device.node, null)
  t.is(facts.device.openError, 'ENOENT')
  t.is(facts.platform, process.platform)
  const folder = await collectHostFacts('/')
  t.is(folder.device.node?.isCharacterDevice, false)
})

test('an error without information is explained, and any other is unchanged', async t => {
  const vague = new KvmUnavailableError('cannot open', { reason: 'unknown' })
  const explained = await explainUnavailable(vague, '/nonexistent/kvm')
  t.true(explained instanceof KvmUnavailableError)
  t.not((explained as KvmUnavailableError).reason, 'unknown')
  const exact = new KvmUnavailableError('no addon', { reason: 'no-binary' })
  t.is(await explainUnavailable(exact), exact)
  const other = new MachineConfigError('cpus', { option: 'cpus' })
  t.is(await explainUnavailable(other), other)
})

test('capabilities are unique, and a capability without an answer is absent', t => {
  t.is(new Set(capabilities.map(({ number }) => number)).size, capabilities.length)
  const report = reportCapabilities({ 3: 1, 219: 1 })
  t.is(report.find(({ name }) => name === 'KVM_CAP_USER_MEMORY')?.value, 1)
  t.is(report.find(({ number }) => number === 219)?.value, 1)
  t.is(report.find(({ number }) => number === 193)?.value, 0)
})

test('the names that the documents speak of have the kernel\u2019s numbers', t => {
  const numbers = Object.fromEntries(capabilities.map(({ name, number }) => [name, number]))
  t.like(numbers, {
    KVM_CAP_X86_NOTIFY_VMEXIT: 219,
    KVM_CAP_X86_TRIPLE_FAULT_EVENT: 218,
    KVM_CAP_X86_BUS_LOCK_EXIT: 193,
    KVM_CAP_DIRTY_LOG_RING: 192,
    KVM_CAP_BINARY_STATS_FD: 203,
    KVM_CAP_IMMEDIATE_EXIT: 136,
  })
})
