// Runs the code blocks of the documents, page by page, in the order in which a reader copies them.

import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { initramfs } from '../helpers/linux-guest.js'
import { codeBlocks, pages, type CodeBlock } from '../helpers/documents.js'
import { root, scratch } from '../helpers/paths.js'
import { emptyQcow2 } from '../helpers/qcow2.js'
import { kvm, linux, requires } from '../helpers/requires.js'
import { run } from '../helpers/spawn.js'

/** A multiboot kernel that powers the machine off. The documents' `vmlinux`. */
const powerOff = (): Uint8Array => {
  const [magic, flags, base] = [0x1badb002, 0x1_0000, 0x10_0000]
  const code = [0x66, 0xba, 0x04, 0x06, 0x66, 0xb8, 0x00, 0x20, 0x66, 0xef, 0xf4] // mov dx, 0x604; mov ax, 0x2000; out dx, ax; hlt
  const end = base + 32 + code.length
  const header = Uint32Array.of(magic, flags, -(magic + flags), base, base, end, end, base + 32)
  return Uint8Array.from([...new Uint8Array(header.buffer), ...code])
}

/** Creates a folder with the files that the documents name: images, disks, and the commands of this package. */
const createFolder = (image: 'power-off' | 'linux'): string => {
  const folder = mkdtempSync(join(scratch(), 'documents-'))
  if (image === 'linux') {
    copyFileSync(process.env['KVM_ACCEL_TEST_KERNEL'] ?? '', join(folder, 'vmlinux'))
    writeFileSync(join(folder, 'initrd.cpio'), initramfs('echo hello'))
  } else {
    writeFileSync(join(folder, 'vmlinux'), powerOff())
    writeFileSync(join(folder, 'test.elf'), powerOff())
    writeFileSync(join(folder, 'initrd.cpio'), new Uint8Array(512))
  }
  for (const name of ['disk.img', 'data.img', 'tools.img']) writeFileSync(join(folder, name), new Uint8Array(1 << 20))
  for (const name of ['disk.qcow2', 'root.qcow2']) writeFileSync(join(folder, name), emptyQcow2(1 << 20))
  // Firmware that halts at the reset vector.
  writeFileSync(join(folder, 'bios.bin'), new Uint8Array(1 << 16).fill(0xf4))
  writeFileSync(join(folder, 'key.pem'), 'a key')
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }')
  mkdirSync(join(folder, 'node_modules'))
  symlinkSync(root, join(folder, 'node_modules/kvm-accel'))
  mkdirSync(join(folder, 'bin'))
  for (const [command, script] of [
    ['kvm-accel', 'kvm-accel.js'],
    ['kvm-accel-system-x86_64', 'kvm-accel-system.js'],
  ] as const) {
    const path = join(folder, 'bin', command)
    writeFileSync(path, `#!/bin/sh\nexec '${process.execPath}' '${join(root, 'dist/cli', script)}' "$@"\n`)
    chmodSync(path, 0o755)
  }
  return folder
}

const tsx = import.meta.resolve('tsx')

/** The command that runs a block, or nothing if the block is a file or needs more than the tests have. */
const command = (block: CodeBlock, name: string): readonly string[] | undefined => {
  if (block.file !== undefined || (block.words.length > 0 && block.words[0] !== 'linux')) return undefined
  if (block.language === 'sh') return ['timeout', '--kill-after=1', '250', 'sh', '-e', name]
  return block.language === 'ts' || block.language === 'js' ? [process.execPath, `--import=${tsx}`, name] : undefined
}

for (const page of pages) {
  for (const image of ['power-off', 'linux'] as const) {
    const blocks = codeBlocks(page).filter(({ words }) => words.includes('linux') === (image === 'linux'))
    const named = blocks.map((block, index) => ({ block, name: block.file ?? `block-${index}.${block.language}` }))
    if (!named.some(({ block, name }) => command(block, name))) continue
    const test = image === 'linux' ? requires(kvm, linux) : requires(kvm)

    test(`the code of ${page} runs${image === 'linux' ? ' with Linux' : ''}`, async t => {
      t.timeout(600_000)
      const cwd = createFolder(image)
      for (const { block, name } of named) {
        writeFileSync(join(cwd, name), block.code)
        const [program = '', ...args] = command(block, name) ?? []
        if (program === '') continue
        const env = { PATH: `${join(cwd, 'bin')}:${process.env['PATH']}` }
        const { status, stdout, stderr } = await run(program, args, { cwd, env, limit: 550 })
        t.is(status, 0, `${page}:${block.line}\n${stdout}${stderr}`)
      }
    })
  }
}
