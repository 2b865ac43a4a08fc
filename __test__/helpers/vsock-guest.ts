// Linux with an init that listens on ports of AF_VSOCK. vsock-init.c describes the ports.

import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import { join } from 'node:path'
import type { Machine, MachineOptions } from 'kvm-accel'
import { cpio } from './cpio.js'
import { append, guestFile } from './linux-guest.js'
import { root, scratch } from './paths.js'

/** The ports on which the guest listens. */
export const ports = { control: 1, echo: 7, sink: 9, source: 19 } as const

/** Compiles the init into an initramfs. */
export function vsockInitramfs(): Buffer {
  const [source, program] = [join(root, '__test__/helpers/vsock-init.c'), join(scratch(), 'vsock-init')]
  const flags = ['-nostdlib', '-static', '-ffreestanding', '-fno-stack-protector', '-mgeneral-regs-only', '-O1']
  const { status, stderr } = spawnSync('cc', [...flags, '-o', program, source], { encoding: 'utf8' })
  if (status !== 0) throw new Error(stderr)
  return cpio([{ name: 'init', contents: readFileSync(program) }, { name: 'dev' }])
}

/** Returns the options of a machine whose guest has CID 3. */
export const vsockGuest = (): MachineOptions => ({
  kernel: guestFile('vmlinux-tiny'),
  initrd: vsockInitramfs(),
  memory: '64M',
  append,
  serial: 'stream',
  vsock: { cid: 3 },
})

/** Resolves when the guest listens on its ports. */
export async function ready(machine: Machine): Promise<void> {
  let text = ''
  for await (const chunk of machine.serial.iterator({ destroyOnReturn: false })) {
    text += String(chunk)
    if (text.includes('INIT: ready')) return
  }
  throw new Error(text)
}

/** Resolves with all bytes of a stream, up to its end. */
export async function whole(stream: Socket): Promise<Buffer> {
  const chunks: Buffer[] = []
  stream.on('data', (chunk: Buffer) => chunks.push(chunk))
  await once(stream, 'end')
  return Buffer.concat(chunks)
}

/**
 * Sends a command to the guest and resolves with its answer. vsock-init.c describes the commands.
 */
export async function command(machine: Machine, line: string): Promise<string> {
  const stream = await machine.vsock.connect(ports.control, { allowHalfOpen: true })
  stream.write(line)
  return String(await whole(stream)).trimEnd()
}
