// TCP between a Linux guest and its host, beside QEMU with the same argv: through a tap interface
// (requires root), and through passt. kvm-accel starts passt for `-netdev user`, and QEMU connects
// to it by `-netdev stream`. Most of the time is spent in the guest's own network stack.

import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync, mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { qemuName } from './guests.mjs'
import { commands, guestOptions, measured, testKernel } from './linux-guest.mjs'
import { ratios, row } from './table.mjs'

const MIB = 1 << 20
const kinds = [
  ['host-to-guest', 'to the guest'],
  ['guest-to-host', 'to the host'],
]
const there = command => spawnSync(command, ['--version']).error === undefined

/** Listens on a free port. `answer` handles each connection. */
const listen = async (host, answer) => {
  const server = createServer({ allowHalfOpen: true }, answer)
  await once(server.listen(0, host), 'listening')
  return server
}

const asNumber = address => address.split('.').reduce((number, part) => number * 256 + Number(part), 0)

/**
 * Runs `measure(options)` with a guest that connects to `host`, whose address in the guest's
 * network is `address`.
 */
const withHost = async ({ folder, host, address, own }, measure) => {
  const source = await listen(host, stream => stream.end(Buffer.alloc(MIB)))
  // Closes its side once it has received all bytes.
  const sink = await listen(host, stream => stream.on('data', () => {}).on('end', () => stream.end()))
  try {
    const words = `ip=${own}::${address}:255.255.255.0::eth0:off host=${asNumber(address)},${source.address().port},${sink.address().port}`
    return await measure(guestOptions(folder, 'network-guest.c', 'net', words))
  } finally {
    source.close()
    sink.close()
  }
}

const device = ['-device', 'virtio-net-device,netdev=net']

const tap = async folder => {
  const name = `kvmbench${process.pid % 100_000}`
  const ip = (...args) => execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'pipe'] })
  if (!existsSync('/dev/net/tun') || !there('ip') || process.getuid() !== 0) return undefined
  return {
    title: 'tap',
    host: { folder, host: '192.0.2.129', address: '192.0.2.129', own: '192.0.2.130' },
    open: () => {
      ip('tuntap', 'add', name, 'mode', 'tap')
      ip('addr', 'add', '192.0.2.129/25', 'dev', name)
      ip('link', 'set', name, 'up')
    },
    close: () => ip('tuntap', 'del', name, 'mode', 'tap'),
    run: async (who, command) => {
      const netdev = ['-netdev', `tap,id=net,ifname=${name},script=no,downscript=no`]
      return measured([...command, ...netdev, ...device], kinds)
    },
  }
}

const passt = async folder => ({
  title: 'passt',
  host: { folder, host: '127.0.0.1', address: '10.0.2.2', own: '10.0.2.15' },
  open: () => {},
  close: () => {},
  run: async (who, command) => {
    if (who === 'ours') return measured([...command, '-netdev', 'user,id=net', ...device], kinds)
    const path = join(folder, 'passt')
    const addresses = ['--address', '10.0.2.15', '--netmask', '255.255.255.0', '--gateway', '10.0.2.2']
    const child = spawn('passt', ['--foreground', '--quiet', '--one-off', '--socket', path, ...addresses])
    try {
      while (!existsSync(path)) await delay(10)
      const netdev = ['-netdev', `stream,id=net,server=off,addr.type=unix,addr.path=${path}`]
      return await measured([...command, ...netdev, ...device], kinds)
    } finally {
      child.kill()
      rmSync(path, { force: true })
    }
  },
})

/** Measures both directions, with `rounds` boots of each program. */
export const networks = async ({ rounds }) => {
  const group = { name: 'virtio-net: TCP from inside Linux', unit: 'MiB/s', digits: 1 }
  if (!testKernel) return { ...group, rows: [row('KVM_ACCEL_TEST_KERNEL is not set', [])] }
  const folder = mkdtempSync(join(tmpdir(), 'kvm-accel-bench-'))
  // passt drops root privileges, and creates its socket here.
  chmodSync(folder, 0o777)
  const rows = []
  try {
    for (const way of [await tap(folder), there('passt') ? await passt(folder) : undefined]) {
      if (!way) continue
      const results = { ours: [], qemu: [] }
      way.open()
      try {
        await withHost(way.host, async options => {
          for (let round = 0; round < rounds; round++)
            for (const [who, command] of Object.entries(commands(options)))
              results[who].push(await way.run(who, command))
        })
      } finally {
        way.close()
      }
      for (const [kind, title] of kinds) {
        const of = who => results[who].map(({ [kind]: { time, bytes } }) => bytes / MIB / (time / 1e9))
        rows.push(row(`${way.title}, ${title}`, of('ours')))
        if (!qemuName) continue
        rows.push(row(`  ${qemuName}`, of('qemu')))
        rows.push(row('  ours / QEMU, time', ratios(of('qemu'), of('ours')), { target: 1, unit: ' x' }))
      }
    }
  } finally {
    rmSync(folder, { recursive: true })
  }
  return { ...group, rows: rows.length > 0 ? rows : [row('needs root and /dev/net/tun for tap, or passt', [])] }
}
