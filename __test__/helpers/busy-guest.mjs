// The guest of __test__/guests/busy.c, which keeps every virtio device busy, and a reader of its
// counters. Plain JavaScript, because child processes of tests and the benchmark use it, too.

import { spawnSync } from 'node:child_process'
import { mkdtempSync, openSync, closeSync, readFileSync, readSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../../', import.meta.url))

// The flags of crates/guests/build.rs.
const flags =
  '-m32 -march=i686 -std=gnu11 -O1 -Wall -Wextra -Wno-main -ffreestanding -nostdinc -fno-pic -fno-stack-protector ' +
  '-fno-asynchronous-unwind-tables -fcf-protection=none -mgeneral-regs-only -DMULTIBOOT'

const execute = (command, args) => {
  const { status, stderr, error } = spawnSync(command, args, { cwd: root, encoding: 'utf8' })
  if (status !== 0) throw new Error(error ? error.message : stderr)
}

let folder

/** Returns a folder of this process, which is removed when the process ends. */
export const busyFolder = () => {
  if (folder === undefined) {
    folder = mkdtempSync(join(tmpdir(), 'kvm-accel-busy-'))
    process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
  }
  return folder
}

let image

/**
 * Returns the path of the guest as a multiboot image. The guest is compiled once in each process,
 * unless KVM_ACCEL_BUSY_GUEST names a compiled one.
 */
export const busyGuestFile = () => {
  image ??= process.env['KVM_ACCEL_BUSY_GUEST']
  if (image === undefined) {
    const runtime = 'crates/guests/programs/runtime'
    const objects = [`${runtime}/start.S`, `${runtime}/runtime.c`, '__test__/guests/busy.c'].map((source, index) => {
      const object = join(busyFolder(), `${index}.o`)
      execute('cc', [...flags.split(' '), `-I${runtime}`, '-c', '-o', object, source])
      return object
    })
    image = join(busyFolder(), 'busy.elf')
    const link = ['-m', 'elf_i386', '-n', '--build-id=none', '--strip-all', '--no-warn-rwx-segments']
    execute('ld', [...link, '-T', `${runtime}/link.ld`, '-o', image, ...objects])
  }
  return image
}

/** Returns the guest's image. */
export const busyGuest = () => new Uint8Array(readFileSync(busyGuestFile()))

/** Guest physical address of the counters. */
const COUNTER = 3 << 20

/** Device ids, which index {@link counters}' `completed`. */
export const devices = { net: 1, disk: 2, console: 3, rng: 4, balloon: 5, vsock: 19 }

/** Reads the guest's counters from the file of its memory, without calling the machine. */
export const counters = path => {
  const bytes = Buffer.alloc(16 + 4 * 32)
  const file = openSync(path, 'r')
  try {
    readSync(file, bytes, 0, bytes.length, COUNTER)
  } finally {
    closeSync(file)
  }
  const completed = Object.entries(devices).map(([name, id]) => [name, bytes.readUInt32LE(16 + 4 * id)])
  return {
    loops: bytes.readUInt32LE(0),
    starts: bytes.readUInt32LE(4),
    wakes: bytes.readUInt32LE(8),
    sleeps: bytes.readUInt32LE(12),
    completed: Object.fromEntries(completed),
  }
}
