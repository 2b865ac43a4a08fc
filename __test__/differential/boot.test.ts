// Images that a linker or a kernel's author may build, and that QEMU boots.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { elf32, header, prints } from '../helpers/multiboot.js'
import { cli, scratch } from '../helpers/paths.js'
import { kvm, qemu, requires } from '../helpers/requires.js'
import { start } from '../helpers/spawn.js'

const test = requires(kvm, qemu)

const bytes = (length: number, character: string): Uint8Array => new Uint8Array(length).fill(character.charCodeAt(0))
const code = (...what: readonly (string | number)[]): Uint8Array => Buffer.concat([header, prints(...what)])

const images = {
  'an entry point at a virtual address': elf32(0xc010_000c, [
    { virtual: 0xc010_0000, physical: 0x10_0000, bytes: code('K'), memory: 0x1000 },
  ]),
  'a physical entry point of a kernel at virtual addresses': elf32(0x10_000c, [
    { virtual: 0xc010_0000, physical: 0x10_0000, bytes: code('K'), memory: 0x1000 },
  ]),
  'a zero-filled tail that overlaps the next segments': elf32(0x10_000c, [
    { virtual: 0x10_0000, physical: 0x10_0000, bytes: code('K', 0x10_1000, 0x10_2000, 0x10_2fff), memory: 0x3000 },
    { virtual: 0x10_1000, physical: 0x10_1000, bytes: bytes(16, 'Z'), memory: 0x20 },
    { virtual: 0x10_2000, physical: 0x10_2000, bytes: bytes(0x2000, 'Y') },
  ]),
}

for (const [name, image] of Object.entries(images)) {
  test(`${name} boots as under QEMU`, async t => {
    const kernel = join(scratch(), `${name}.elf`)
    writeFileSync(kernel, image)
    const argv = [
      ...['-M', 'microvm', '-accel', 'kvm', '-m', '16M', '-nodefaults', '-no-user-config', '-display', 'none'],
      ...['-serial', 'stdio', '-device', 'isa-debug-exit,iobase=0xf4,iosize=1', '-kernel', kernel],
    ]
    const theirs = await start('qemu-system-x86_64', argv).finished
    const ours = await start(process.execPath, [cli, 'run', ...argv]).finished
    t.is(ours.stdout, theirs.stdout, ours.stderr + theirs.stderr)
    t.regex(ours.stdout, /^K/)
  })
}
