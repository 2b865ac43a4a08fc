// Linux guests that measure from inside: an init in C (guest.h), booted by `kvm-accel run` and by
// QEMU with the same argv.

import { execFileSync, spawn } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { root } from '../steps.mjs'
import { qemuName } from './guests.mjs'

export const testKernel = process.env['KVM_ACCEL_TEST_KERNEL']

/** Shortens the boot. */
const append =
  'console=ttyS0 reboot=t panic=-1 tsc=reliable no_timer_check rodata=off noreplace-smp norandmaps percpu_alloc=page quiet'

/** Creates an initramfs ("newc") with `init` and a folder for devices. */
const initramfs = init => {
  const padded = bytes => Buffer.concat([bytes, Buffer.alloc(-bytes.length & 3)])
  const entry = (name, mode, contents = Buffer.alloc(0)) => {
    const title = Buffer.from(`${name}\0`)
    const fields = [1, mode, 0, 0, 1, 0, contents.length, 0, 0, 0, 0, title.length, 0]
    const header = `070701${fields.map(field => field.toString(16).padStart(8, '0')).join('')}`
    return Buffer.concat([padded(Buffer.concat([Buffer.from(header), title])), padded(contents)])
  }
  return Buffer.concat([entry('init', 0o100755, init), entry('dev', 0o40755), entry('TRAILER!!!', 0)])
}

/**
 * Returns the options of a guest whose init is `source`, a C file beside this one. `kernel`:
 * 'tiny', or 'net' with INET.
 */
export const guestOptions = (folder, source, kernel, words = '') => {
  const at = name => join(folder, name)
  const flags = ['-nostdlib', '-static', '-mgeneral-regs-only', '-O1', '-fno-stack-protector']
  execFileSync('cc', [...flags, '-o', at('init'), join(root, 'npm/scripts/bench', source)])
  writeFileSync(at('initrd'), initramfs(readFileSync(at('init'))))
  return [
    ...[
      '-M',
      'microvm,acpi=off',
      '-accel',
      'kvm',
      '-m',
      '64M',
      '-kernel',
      join(dirname(testKernel), `vmlinux-${kernel}`),
    ],
    ...['-initrd', at('initrd'), '-append', `${append} ${words}`],
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-serial', 'stdio', '-no-reboot'],
  ]
}

/** Returns the commands that boot a guest: kvm-accel's, and QEMU's if it is installed. */
export const commands = options => ({
  ours: [process.execPath, join(root, 'dist/cli/kvm-accel.js'), 'run', ...options],
  ...(qemuName ? { qemu: ['qemu-system-x86_64', ...options] } : {}),
})

/** Boots a guest once. Resolves with the nanoseconds and bytes of each of `kinds`. */
export const measured = async ([command, ...args], kinds) => {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  let output = ''
  for await (const chunk of child.stdout) output += chunk
  const lines = [...output.matchAll(/^BENCH (\S+) (\d+) (\d+)/gm)].map(([, what, time, bytes]) => [
    what,
    { time: Number(time), bytes: Number(bytes) },
  ])
  const results = Object.fromEntries(lines)
  if (kinds.some(([kind]) => !results[kind])) throw new Error(`${command} did not measure:\n${output}`)
  return results
}
