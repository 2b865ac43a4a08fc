// `kvm-accel demo` and `kvm-accel guests`.

import test from 'ava'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { guestFor } from '../../ts/cli/demo/guests.js'
import { steps } from '../../ts/cli/demo/steps.js'
import { cli, root, scratch } from '../helpers/paths.js'
import { kvm, requires } from '../helpers/requires.js'
import { run } from '../helpers/spawn.js'

const needsKvm = requires(kvm)

needsKvm('demo shows serial output, events, a JavaScript device and the code, without colours in a pipe', async t => {
  const { status, stdout, stderr } = await run(process.execPath, [cli, 'demo'], { cwd: root, limit: 120 })
  t.is(status, 0, stderr)
  t.is(stderr, '')
  t.false(stdout.includes('\u001b'))
  for (const text of [
    'Hello from a guest on KVM.',
    'event: shutdown, guest-reset',
    'guest: ping',
    'the guest wrote 100 times to port 0xe0',
    'event: stop, paused',
    /event: notify of vCPU 0 at '.+', resumed/,
    /event: notify of vCPU 0 at '.+', stopped/,
    /the machine stopped, internal-error: .*more than 1 notify exits/,
  ]) {
    t.regex(stdout, new RegExp(text))
  }
  for (const { title, code } of steps) {
    t.true(stdout.includes(title))
    t.true(stdout.includes(code.replaceAll(/^/gm, '    ')))
  }
  const named = [...stdout.matchAll(/docs\/\S+\.md/g)].map(([path]) => path)
  t.is(named.length, steps.length + 1)
  t.deepEqual(
    named.filter(path => !existsSync(join(root, path))),
    [],
  )
})

needsKvm('guests NAME writes an image that run boots', async t => {
  const image = join(scratch(), 'hello.elf')
  const written = await run('sh', ['-c', `'${process.execPath}' '${cli}' guests hello > '${image}'`])
  t.is(written.status, 0, written.stderr)
  const argv = [cli, 'run', '-m', '16M', '-kernel', image, '-nographic', '-no-reboot']
  const { status, stdout, stderr } = await run(process.execPath, argv)
  t.is(status, 0, stderr)
  t.regex(stdout, /^Hello from a guest on KVM\./)
})

test('guests lists the guests, and refuses an unknown name and a terminal', async t => {
  const { stdout } = await run(process.execPath, [cli, 'guests'])
  t.regex(stdout, /^hello +Prints a greeting$/m)
  const { status, stderr } = await run(process.execPath, [cli, 'guests', 'helo'])
  t.is(status, 1)
  t.regex(stderr, /invalid name 'helo': .*\n.*`kvm-accel guests` list.* Did you mean 'hello'\?/)
  const remedy = /kvm-accel guests hello > hello\.elf/
  t.like(
    t.throws(() => guestFor('hello', { isTTY: true })),
    { code: 'ERR_ARGUMENT' },
  )
  t.regex((t.throws(() => guestFor('hello', { isTTY: true })) as { remedy?: string }).remedy ?? '', remedy)
})
