// Tests a network over a tap interface of the host from inside a Linux guest, and the requirements of networks.

import { Machine } from 'kvm-accel'
import { execFileSync } from 'node:child_process'
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
