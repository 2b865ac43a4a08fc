// Tests a network over a tap interface of the host from inside a Linux guest, and the requirements of networks.

import { Machine, type MachineConfigError, type NetworkBackend } from 'kvm-accel'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { linuxGuest } from '../helpers/linux-guest.js'
import { consoleOf, webServer } from '../helpers/network-guest.js'
import { kvm, linux, requires, tap } from '../helpers/requires.js'

requires(
  kvm,
  linux,
  tap,
)('A tap interface carries frames larger than the network’s, and can be used again', async t => {
  t.timeout(600_000)
  const name = `kvmtap${process.pid % 10_000}`
  // A separate network of two addresses, because tests of another clone may run on this host.
  const [third, fourth] = [(process.pid >> 6) & 0xff, (process.pid & 0x3f) << 2]
  const [host, own] = [1, 2].map(last => `198.18.${third}.${fourth + last}`) as [string, string]
  const ip = (...args: string[]): void => void execFileSync('ip', args)
  ip('tuntap', 'add', name, 'mode', 'tap')
  try {
    ip('addr', 'add', `${host}/30`, 'dev', name)
    ip('link', 'set', name, 'up')
    using server = await webServer(host)
    const guest = linuxGuest(
      `
ip link set eth0 up
ip addr add ${own}/30 dev eth0
ping -c 1 -s 3000 ${host}
wget -q -O - http://${host}:${server.port}/
`,
      { kernel: 'net' },
    )
    const text = await consoleOf({ ...guest, networks: [{ backend: { tap: name } }] })
    t.regex(text, /1 packets received/)
    t.regex(text, /^hello from the host\r?$/m)
  } finally {
    ip('tuntap', 'del', name, 'mode', 'tap')
  }
})

requires(kvm)('create() fails if an interface, a socket or a program of a network is missing', async t => {
  const failed = (backend: object) =>
    t.throwsAsync(
      Machine.create({ kernel: new Uint8Array(16), kernelFormat: 'flat', networks: [{ backend } as never] }),
    )
  t.regex((await failed({ tap: 'a-name-that-is-too-long' }))?.message ?? '', /tap interface 'a-name-that-is-too-long'/)
  t.regex((await failed({ stream: '/no/listener' }))?.message ?? '', /no process answers at the socket/)
  t.regex((await failed({ hub: 1 }))?.message ?? '', /^unknown machine option 'networks\[0\]\.backend\.hub'/)
})

requires(kvm, tap)('a tap interface is created only on request, and exists as long as the machine', async t => {
  const interfaces = () => readdirSync('/sys/class/net')
  const name = `kvmnew${process.pid % 10_000}`
  const create = (backend: NetworkBackend) =>
    Machine.create({ kernel: new Uint8Array(16), kernelFormat: 'flat', networks: [{ backend }] })
  const error = await t.throwsAsync(create({ tap: name }), { code: 'ERR_MACHINE_CONFIG', message: /No such device/ })
  t.regex((error as MachineConfigError).remedy ?? '', /ip tuntap add/)
  t.false(interfaces().includes(name))
  {
    await using _machine = await create({ tap: { create: name } })
    t.true(interfaces().includes(name))
    await t.throwsAsync(create({ tap: { create: name } }), { message: /cannot create the tap interface/ })
    await using _other = await create({ tap: { create: `${name}%d` } })
    t.true(interfaces().includes(`${name}0`))
  }
  t.deepEqual(
    interfaces().filter(found => found.startsWith(name)),
    [],
  )
})

requires(kvm)('create() fails if a forwarded port is taken on one address family', async t => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  try {
    const { port: hostPort } = server.address() as AddressInfo
    const forward = { hostPort, guestPort: 80 }
    await t.throwsAsync(
      Machine.create({
        kernel: new Uint8Array(16),
        kernelFormat: 'flat',
        networks: [{ backend: { user: { forwards: [forward] } } }],
      }),
      { code: 'ERR_MACHINE_CONFIG', message: new RegExp(`TCP port ${hostPort} of the host at IPv4 address '0.0.0.0'`) },
    )
  } finally {
    server.close()
  }
})
