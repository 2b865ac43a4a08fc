// Creates machines that run the guest of __test__/guests/busy.c with every virtio device, for
// tests, their child processes and the benchmark.

import { spawn } from 'node:child_process'
import { existsSync, ftruncateSync, mkdtempSync, openSync, closeSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { busyGuestFile } from './busy-guest.mjs'

const MIB = 2 ** 20

/**
 * Returns a folder in memory if /dev/shm has room for guest memory, else in the temporary folder.
 * It is removed when this process ends. In a process that got {@link busyEnvironment}, it lies in
 * the folder of the parent process, so that a killed process leaves nothing behind.
 */
export const memoryFolder = () => {
  const room = existsSync('/dev/shm') ? statfsSync('/dev/shm') : undefined
  const parent = room && room.bavail * room.bsize > 1024 * MIB ? '/dev/shm' : tmpdir()
  const folder = mkdtempSync(join(process.env['KVM_ACCEL_BUSY_FOLDER'] ?? parent, 'kvm-accel-busy-'))
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
  return folder
}

let shared

/** Returns the environment of a process that creates busy machines. */
export const busyEnvironment = () => ({
  KVM_ACCEL_BUSY_GUEST: busyGuestFile(),
  KVM_ACCEL_BUSY_FOLDER: (shared ??= memoryFolder()),
})

/**
 * Starts the process of busy-peer.mjs. `listen(path)` resolves once the peer listens on the path.
 * The peer ends with this process.
 */
export const startPeer = ({ interval = 0 } = {}) => {
  const script = fileURLToPath(new URL('busy-peer.mjs', import.meta.url))
  const child = spawn(process.execPath, [script, String(interval)], { stdio: ['pipe', 'pipe', 'inherit'] })
  child.unref()
  child.stdin.unref?.()
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  child.stdout.unref?.()
  return {
    listen: async path => {
      child.stdin.write(`${path}\n`)
      child.stdout.ref?.()
      const { done } = await lines.next()
      child.stdout.unref?.()
      if (done) throw new Error('The peer process has ended')
      return path
    },
    [Symbol.dispose]: () => void child.kill('SIGKILL'),
  }
}

/** Creates a sparse file. */
export const sparse = (path, bytes) => {
  const file = openSync(path, 'w')
  ftruncateSync(file, bytes)
  closeSync(file)
  return path
}

/** Creates a file in which every sector is different. */
export const unlike = (path, bytes) => {
  const image = Buffer.alloc(bytes)
  for (let at = 0; at < bytes; at += 512) image.fill(at / 512, at, at + 512).writeUInt32LE(at / 512, at)
  writeFileSync(path, image)
  return path
}

/**
 * Returns the options of a machine with every device. `folder` and `name` determine the paths of
 * its files. `peer` is the other end of its network and of its vsock connection; without a peer,
 * the machine has neither device.
 */
export const busyOptions = async ({ folder, name, disk, peer, append = '', ...options }) => {
  const vsock = join(folder, `${name}-vsock`)
  const connected = peer && {
    networks: [{ backend: { stream: await peer.listen(join(folder, `${name}-net`)) } }],
    vsock: { cid: 3, path: vsock },
  }
  if (peer) await peer.listen(`${vsock}_52`)
  return {
    kernel: busyGuestFile(),
    memory: { size: '16M', path: join(folder, `${name}-ram`), share: true },
    serial: 'stream',
    append,
    pvpanic: true,
    disks: [typeof disk === 'string' ? { path: disk } : disk],
    rng: true,
    balloon: true,
    consoles: [{ target: 'null' }],
    ...connected,
    ...options,
  }
}
