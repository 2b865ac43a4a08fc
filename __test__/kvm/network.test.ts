// Networks from inside a Linux guest: a tap interface of the host, and user-mode networking by passt.

import { Machine, type MachineOptions } from 'kvm-accel'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, readdirSync } from 'node:fs'
import { createServer as createHttpServer } from 'node:http'
import { connect, type AddressInfo } from 'node:net'
import { createInterface } from 'node:readline'
import { linuxGuest } from '../helpers/linux-guest.js'
import { kvm, linux, passt, requires, tap } from '../helpers/requires.js'

const minutes = (count: number): number => count * 60_000

/** A web server of the host: the port, and who asked. */
const webServer = async (host: string) => {
  const server = createHttpServer((_, response) => response.end('hello from the host\n'))
  await once(server.listen(0, host), 'listening')
  return { port: (server.address() as AddressInfo).port, [Symbol.dispose]: () => void server.close() }
}

/** Runs a guest; `onLine` sees each line of its console. */
const consoleOf = async (options: MachineOptions, onLine: (line: string) => void = () => {}): Promise<string> => {
  await using machine = await Machine.create({ ...options, memory: '128M' })
  await machine.start()
  let text = ''
  for await (const line of createInterface(machine.serial)) {
    text += `${line}\n`
    onLine(line)
  }
  await machine.wait()
  return text
}

const children = (): number =>
  readdirSync('/proc').filter(name => {
    try {
      return /^\d+$/.test(name) && readFileSync(`/proc/${name}/stat`, 'utf8').includes(`(passt) `)
    } catch {
      return false
    }
  }).length

requires(
  kvm,
  linux,
  passt,
)('passt connects guest and host, both ways, and ends with the machine', async t => {
  t.timeout(minutes(10))
  using server = await webServer('127.0.0.1')
  const hostPort = 20_000 + (process.pid % 20_000)
  const before = children()
  const guest = linuxGuest(
    `
mount -t sysfs sys /sys
ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0
ip route add default via 10.0.2.2
wget -q -O - http://10.0.2.2:${server.port}/
cat /sys/class/net/eth0/address /sys/class/net/eth0/mtu
echo listening
echo hello from the guest | nc -l -p 80
`,
    { kernel: 'net' },
  )
  const forward = { hostAddress: '127.0.0.1', hostPort, guestPort: 80 }
  let answer = ''
  let during = 0
  const network = { backend: { user: { forwards: [forward] } }, mac: '52:54:00:12:34:56', mtu: 1400 } as const
  const text = await consoleOf({ ...guest, networks: [network] }, line => {
    if (line.trim() !== 'listening') return
    during = children()
    // The guest may not listen yet: passt then refuses, and the next try is later.
    const ask = (): void => {
      const socket = connect(hostPort, '127.0.0.1')
      socket.on('data', chunk => (answer += String(chunk)))
      socket.on('error', () => {})
      socket.on('close', () => answer === '' && setTimeout(ask, 200).unref())
    }
    ask()
  })
  t.regex(text, /^hello from the host\r?$/m)
  t.regex(text, /^52:54:00:12:34:56\r?\n1400\r?$/m)
  t.is(answer, 'hello from the guest\n')
  t.is(during, before + 1)
  t.is(children(), before)
})

requires(
  kvm,
  linux,
  tap,
)('A tap interface carries frames larger than the network’s, and can be used again', async t => {
  t.timeout(minutes(15))
  const name = `kvmtap${process.pid % 10_000}`
  const ip = (...args: string[]): void => void execFileSync('ip', args)
  ip('tuntap', 'add', name, 'mode', 'tap')
  try {
    ip('addr', 'add', '192.0.2.129/25', 'dev', name)
    ip('link', 'set', name, 'up')
    using server = await webServer('192.0.2.129')
    const guest = linuxGuest(
      `
ip link set eth0 up
ip addr add 192.0.2.130/25 dev eth0
ping -c 1 -s 3000 192.0.2.129 | grep received
wget -q -O - http://192.0.2.129:${server.port}/
grep virtio /proc/interrupts | wc -l
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

requires(kvm)('What a network needs and is not there is an error of create()', async t => {
  const failed = (backend: object) =>
    t.throwsAsync(
      Machine.create({ kernel: new Uint8Array(16), kernelFormat: 'flat', networks: [{ backend } as never] }),
    )
  t.regex((await failed({ tap: 'a-name-that-is-too-long' }))?.message ?? '', /tap interface 'a-name-that-is-too-long'/)
  t.regex((await failed({ stream: '/nobody/listens' }))?.message ?? '', /nobody answers at the socket/)
  t.regex((await failed({ hub: 1 }))?.message ?? '', /machine option 'networks'/)
})
