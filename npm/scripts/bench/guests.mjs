// Writes embedded guests to files, and runs QEMU with one of them.

import { spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { guestImage } from 'kvm-accel'

const folder = mkdtempSync(join(tmpdir(), 'kvm-accel-bench-'))
process.once('exit', () => rmSync(folder, { recursive: true, force: true }))

/** Returns the path of a guest's PVH image. */
export const guestFile = name => {
  const path = join(folder, `${name}.elf`)
  writeFileSync(path, guestImage(name))
  return path
}

const version = spawnSync('qemu-system-x86_64', ['--version'], { encoding: 'utf8' })

/** QEMU's name in the table; undefined if QEMU is not installed. */
export const qemuName =
  version.status === 0 ? `QEMU ${/version (\d+\.\d+)/.exec(version.stdout)?.[1]} microvm` : undefined

/** Returns the options that QEMU and `kvm-accel run` share. */
export const machineOptions = (name, ...more) =>
  ['-M microvm -m 16M -nodefaults -no-user-config -display none -serial stdio -no-reboot -kernel', guestFile(name)]
    .join(' ')
    .split(' ')
    .concat(more)

/** Returns QEMU's command for a guest. */
export const qemu = (name, ...more) => ['qemu-system-x86_64', '-accel', 'kvm', ...machineOptions(name, ...more)]

/**
 * Runs a command. Resolves with its output, and with the milliseconds until its first byte and
 * until its end.
 */
export const timed = ([command, ...args]) =>
  new Promise((resolve, reject) => {
    const start = performance.now()
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    let complaint = ''
    let firstByte
    child.stdout.on('data', chunk => {
      firstByte ??= performance.now() - start
      output += chunk
    })
    child.stderr.on('data', chunk => (complaint += chunk))
    child.once('error', reject)
    child.once('close', status => {
      const end = performance.now() - start
      if (status === 0) resolve({ output, firstByte, end })
      else reject(new Error(`${command} ended with ${status}: ${complaint}`))
    })
  })
