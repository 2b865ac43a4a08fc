// Tests the signal that kicks vCPUs, in a process that also uses it for other purposes.

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { root } from '../helpers/paths.js'
import { kvm, requires } from '../helpers/requires.js'
import { run } from '../helpers/spawn.js'

const test = requires(kvm)

test('machines of two copies of the package in one process stop, beside a listener for the same signal', async t => {
  const folder = await mkdtemp(join(tmpdir(), 'kvm-accel-copy-'))
  t.teardown(() => rm(folder, { recursive: true }))
  const { status, stdout, stderr } = await run(process.execPath, [
    join(root, '__test__/helpers/two-copies.mjs'),
    folder,
  ])
  t.is(status, 0, stderr)
  const [paused, ended] = [Array(2).fill('paused'), Array(2).fill('host-quit')]
  t.deepEqual(JSON.parse(stdout), {
    different: true,
    stops: [...paused, ...ended, ...paused, ...ended, ...ended],
    heard: true,
  })
})

test('a spinning guest stops in a process that may have no pending signals', async t => {
  const script = `
    import { Machine, guestImage } from 'kvm-accel'
    const machine = await Machine.create({ kernel: guestImage('spin') })
    await machine.start()
    await machine.pause()
    await machine.resume()
    await machine.stop()
    console.log((await machine.wait()).reason)
  `
  const node = [process.execPath, '--input-type=module', '-e', script]
  const { status, stdout, stderr } = await run('prlimit', ['--sigpending=0', ...node])
  t.is(status, 0, stderr)
  t.is(stdout.trim(), 'host-quit')
})
