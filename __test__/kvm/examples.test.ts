// Every program that a reader may copy type-checks, runs, and prints the expected text.

import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { steps } from '../../ts/cli/demo/steps.js'
import { codeBlocks, pages } from '../helpers/documents.js'
import { root, scratch } from '../helpers/paths.js'
import { guestFile, initramfs } from '../helpers/linux-guest.js'
import { kvm, linux, requires } from '../helpers/requires.js'
import { run } from '../helpers/spawn.js'
import { vsockInitramfs } from '../helpers/vsock-guest.js'

/** The standard output of each program of `examples/`. */
const outputs: Readonly<Record<string, RegExp>> = {
  'debug-exit.mjs': /^debug-exit 43\n$/,
  'exit-cost.ts': /^(port write|port read|memory write|memory read|hlt) +[\d.]+ us\n(.+ us\n){4}$/,
  'fuzzer.ts': /^'GURU' after \d+ executions, 8 instructions covered\n$/,
  'hello.mjs':
    /^Hello from a guest on KVM\.\n[^]*Goodbye\.\n\n +exit reason +guest-reset\n +exits by kind +io \d+[^]*\n +first byte +[\d.]+ ms after start\(\)\n +notify policy +run, window 0\n +notify on this host +(not )?supported, (not )?enabled\n$/,
  'javascript-device.mjs': /^the guest wrote 1000 times\n$/,
  'notify-drill.mjs':
    /^(vCPU 0, notify exit [123] at '.+': \{ injected: true, resumed: true \}\n){3}vCPU 0, notify exit 4 at '.+': \{ injected: true, resumed: false \}\ninternal-error - .*more than 3 notify exits within 60 s/,
  'serial-echo.mjs': /^serial-echo\nping pong q\nserial-echo: done\nguest-reset\n$/,
  'time-limit.mjs': /^shutdown - aborted\n$/,
  'tiny-vm.ts': /^port 17: 55\n$/,
  'untrusted.mjs': /^timeout, \d+ bytes of output, \d+ kinds of exits\n$/,
  'typescript-serial.ts': /^Hello from a guest, by a serial port in TypeScript\.\n$/,
}

/** The programs that take a Linux kernel and an initrd, with the script that creates the initrd. */
const linuxOutputs: Readonly<Record<string, { readonly initrd: () => Uint8Array; readonly output: RegExp }>> = {
  'balloon.ts': {
    initrd: () => initramfs('cat'),
    output: /^The guest has 64 MiB of 128 MiB\.\nThe rest is the host’s\.\n$/,
  },
  'console.ts': {
    initrd: () => initramfs('exec 3<>/dev/vport0p1\nread -r question <&3\necho "$question I am the guest." >&3\ncat'),
    output: /^What is your name\? I am the guest\.\n$/,
  },
  'conversation.ts': {
    initrd: () => initramfs('echo -n "name: "\nread -r name\necho "Hello, $name."\necho 1\necho 2\necho 3'),
    output: /^The guest greets Ada\nThe guest counts 1\nThe guest counts 2\nThe guest counts 3\nguest-reset\n$/,
  },
  'kernel-test.ts': {
    initrd: () => initramfs('echo "TEST arithmetic ok"\n[ -e /proc/version ] && echo "TEST procfs ok"'),
    output: /^ok: arithmetic\nok: procfs\n$/,
  },
  'vsock.ts': { initrd: vsockInitramfs, output: /^Hello, guest\.\n$/ },
}

test('every example is tested', t => {
  const tested = [...Object.keys(outputs), ...Object.keys(linuxOutputs)]
  t.deepEqual(readdirSync(join(root, 'examples')).toSorted(), tested.toSorted())
})

const linuxExample = requires(kvm, linux)

for (const [name, { initrd, output }] of Object.entries(linuxOutputs)) {
  linuxExample(`examples/${name} runs and prints the expected text`, async t => {
    t.timeout(300_000)
    const archive = join(scratch(), `${name}.cpio`)
    writeFileSync(archive, initrd())
    const argv = ['--import=tsx', join(root, 'examples', name), guestFile('vmlinux-tiny'), archive]
    const { status, stdout, stderr } = await run(process.execPath, argv, { limit: 300 })
    t.is(status, 0, stderr)
    t.is(stderr, '')
    t.regex(stdout, output)
  })
}

const example = requires(kvm)

for (const [name, output] of Object.entries(outputs)) {
  example(`examples/${name} runs and prints the expected text`, async t => {
    const { status, stdout, stderr } = await run(process.execPath, ['--import=tsx', join(root, 'examples', name)])
    t.is(status, 0, stderr)
    t.is(stderr, '')
    t.regex(stdout, output)
  })
}

/** The first program of the README; others are fragments. */
const readme = /```ts\n([^]*?)```/.exec(readFileSync(join(root, 'README.md'), 'utf8'))?.[1] ?? ''

example('the README’s example runs', async t => {
  t.true(readme.trimEnd().split('\n').length <= 20, 'a reader takes it in at a glance')
  const { status, stdout, stderr } = await run(process.execPath, ['--input-type=module', '-e', readme])
  t.is(status, 0, stderr)
  t.regex(stdout, /^Hello from a guest on KVM\.\n[^]*\nguest-reset \{[^]*io: \d+/)
})

/** The TSDoc examples of `ts/`, by file and line. */
const documented = readdirSync(join(root, 'ts'), { recursive: true, encoding: 'utf8' })
  .filter(name => name.endsWith('.ts'))
  .flatMap(name => {
    const text = readFileSync(join(root, 'ts', name), 'utf8')
    return [...text.matchAll(/@example\n \* *```ts\n([^]*?) *\* ```/g)].map(([, block = ''], index) => ({
      name: `${name.replaceAll(/\W/g, '-')}-${index}.ts`,
      code: block.replaceAll(/^ *\* ?/gm, ''),
    }))
  })

/** The code that `kvm-accel demo` shows. */
const demonstrated = steps.map(({ code }, index) => {
  const machine = code.includes('const machine') ? '' : 'declare const machine: Machine\nlet writes = 0\n'
  return { name: `demo-${index}.ts`, code: `import { Machine, guestImage } from 'kvm-accel'\n${machine}${code}\n` }
})

test('the TypeScript code of the documents, of TSDoc and of the demo type-checks', t => {
  t.true(documented.length > 0)
  const folder = join(scratch(), 'documented')
  mkdirSync(folder)
  const written = pages.flatMap(codeBlocks).filter(({ language, source }) => language === 'ts' && source === undefined)
  const programs = [
    ...written.map(({ page, line, code }) => ({ name: `${page.replaceAll(/\W/g, '-')}-${line}.ts`, code })),
    ...documented,
    ...demonstrated,
  ]
  for (const { name, code } of programs) writeFileSync(join(folder, name), code)
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }')
  const compilerOptions = { rootDir: '.', typeRoots: [join(root, 'node_modules/@types')] }
  const config = { extends: join(root, 'tsconfig.test.json'), compilerOptions, include: ['.'] }
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(config))
  const tsc = join(root, 'node_modules/typescript/bin/tsc')
  const { status, stdout } = spawnSync(process.execPath, [tsc, '-p', folder], { encoding: 'utf8' })
  t.is(status, 0, stdout)
})
