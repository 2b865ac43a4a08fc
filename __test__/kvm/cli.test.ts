// Tests `kvm-accel` on a real /dev/kvm: the output on each stream, and the exit status.

import test from 'ava'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { guestFile } from '../helpers/guest-file.js'
import { cli, root, scratch } from '../helpers/paths.js'
import { kvm, requires } from '../helpers/requires.js'
import { run, start, type Running } from '../helpers/spawn.js'

const needsKvm = requires(kvm)

const argv = (...rest: string[]): string[] => [cli, 'run', '-m', '16M', ...rest]
const kvmAccel = (...rest: string[]) => run(process.execPath, argv(...rest))

/** Resolves when the process has written `text` on its standard output. */
const seen = async ({ child }: Running, text: string): Promise<void> => {
  let output = ''
  while (!output.includes(text)) {
    if (child.stdout === null) throw new Error('no output')
    const [chunk] = (await once(child.stdout, 'data')) as [string]
    output += chunk
  }
}

needsKvm("the guest's output alone is on stdout, and its reset under -no-reboot is status 0", async t => {
  const { status, stdout, stderr } = await kvmAccel('-kernel', guestFile('hello'), '-serial', 'stdio', '-no-reboot')
  t.is(status, 0, stderr)
  t.true(stdout.length > 0)
  t.is(stderr, '')
})

needsKvm('kvm-accel-system-x86_64 runs the same guest', async t => {
  const options = ['-m', '16M', '-kernel', guestFile('hello', 'multiboot'), '-nographic', '-no-reboot']
  const { status, stdout, stderr } = await run(process.execPath, [
    join(root, 'dist/cli/kvm-accel-system.js'),
    ...options,
  ])
  t.is(status, 0, stderr)
  t.true(stdout.length > 0)
})

needsKvm('a debug exit sets the exit status', async t => {
  const device = ['-device', 'isa-debug-exit,iobase=0xf4,iosize=4']
  t.is((await kvmAccel('-kernel', guestFile('debug-exit'), ...device)).status, (5 << 1) | 1)
  t.is((await kvmAccel('-kernel', guestFile('debug-exit'), '-append', 'value=0', ...device, '-no-shutdown')).status, 1)
})

needsKvm('-serial file: writes the output to the file', async t => {
  const path = join(scratch(), 'serial.log')
  const { status, stdout } = await kvmAccel('-kernel', guestFile('hello'), '-serial', `file:${path}`, '-no-reboot')
  t.is(status, 0)
  t.is(stdout, '')
  t.true(readFileSync(path, 'utf8').length > 0)
})

needsKvm('standard input is the input of the guest, and its end does not end the machine', async t => {
  const options = argv('-kernel', guestFile('serial-echo'), '-serial', 'stdio', '-no-reboot')
  const { status, stdout, stderr } = await start(process.execPath, options, { input: 'abcq' }).finished
  t.is(status, 0, stderr)
  t.true(stdout.includes('abcq'), stdout)
})

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  needsKvm(`${signal} ends a spinning guest with status 0 and removes the pidfile`, async t => {
    const pidfile = join(scratch(), `${signal}.pid`)
    const running = start(process.execPath, argv('-kernel', guestFile('spin'), '-serial', 'stdio', '-pidfile', pidfile))
    await seen(running, 'spin')
    t.is(readFileSync(pidfile, 'utf8'), `${running.child.pid}\n`)
    running.child.kill(signal)
    const { status, stderr, timedOut } = await running.finished
    t.false(timedOut)
    t.is(status, 0)
    t.is(stderr, `kvm-accel: terminating on ${signal}\n`)
    t.false(existsSync(pidfile))
  })
}

needsKvm('-no-shutdown stays after the guest has ended, until a signal', async t => {
  const options = argv('-kernel', guestFile('hello'), '-serial', 'stdio', '-no-reboot', '-no-shutdown')
  const running = start(process.execPath, options)
  await seen(running, '\n')
  // Wait until the guest has ended. A process that does not stay has status 0 and prints no line about the signal.
  await new Promise(resolve => setTimeout(resolve, 500))
  t.is(running.child.exitCode, null)
  running.child.kill('SIGTERM')
  const { status, stderr } = await running.finished
  t.is(status, 0)
  t.regex(stderr, /terminating on SIGTERM/)
})

needsKvm('-S does not start the guest', async t => {
  const running = start(process.execPath, argv('-kernel', guestFile('hello'), '-serial', 'stdio', '-no-reboot', '-S'))
  await once(running.child.stderr ?? running.child, 'data')
  await new Promise(resolve => setTimeout(resolve, 500))
  running.child.kill('SIGINT')
  const { status, stdout } = await running.finished
  t.is(status, 0)
  t.is(stdout, '')
})

needsKvm('an option without effect causes one warning on stderr, and the guest runs', async t => {
  const { status, stdout, stderr } = await kvmAccel(
    '-kernel',
    guestFile('hello'),
    '-cpu',
    'Penryn',
    '-serial',
    'stdio',
    '-no-reboot',
  )
  t.is(status, 0)
  t.is(
    stderr.match(/^kvm-accel: warning: CPU model 'Penryn' is not supported; using 'host' instead\. Supported models:/gm)
      ?.length,
    1,
  )
  t.false(stdout.includes('warning'))
})

needsKvm('a skipped accelerator is a warning', async t => {
  const accel = ['-accel', 'tcg', '-accel', 'kvm']
  const { status, stderr } = await kvmAccel('-kernel', guestFile('hello'), ...accel, '-no-reboot')
  t.is(status, 0)
  t.regex(stderr, /^kvm-accel: warning: accelerator 'tcg'/m)
})

needsKvm('an image that cannot be loaded ends with status 1 and the reason, and leaves no pidfile', async t => {
  const pidfile = join(scratch(), 'image.pid')
  const { status, stderr } = await kvmAccel('-kernel', '/nonexistent/kernel', '-pidfile', pidfile)
  t.is(status, 1)
  t.regex(stderr, /^kvm-accel: error: .*\/nonexistent\/kernel/)
  t.false(existsSync(pidfile))
})

test('a missing KVM device is an error with the reason', async t => {
  const { status, stderr } = await kvmAccel('-kernel', guestFile('hello'), '-accel', 'kvm,device=/nonexistent/kvm')
  t.is(status, 1)
  t.regex(stderr, /^kvm-accel: error: .*\/nonexistent\/kvm[^\n]*\n {2}\S/)
})

needsKvm('an internal error ends with status 70 and a register dump on stderr', async t => {
  const { status, stdout, stderr } = await kvmAccel(
    '-kernel',
    guestFile('emulation-failure'),
    '-serial',
    'stdio',
    '-no-reboot',
  )
  // A host that runs ring 0 natively has no such failure. The guest then prints that and resets.
  const runsX87 = stdout.includes('the host runs x87')
  t.is(status, runsX87 ? 0 : 70, stderr)
  if (runsX87) return
  t.regex(stderr, /^kvm-accel: error: the machine stopped in internal-error: .*suberror 1/m)
  t.regex(stderr, /^Code=.*<d9>/m)
})

needsKvm('doctor reports that guests can run', async t => {
  const { status, stdout } = await run(process.execPath, [cli, 'doctor'])
  t.is(status, 0)
  t.regex(stdout, /Guests can run on this host\./)
  const json = await run(process.execPath, [cli, 'doctor', '--json'])
  const report = JSON.parse(json.stdout) as { ok: boolean; apiVersion: number; capabilities: { name: string }[] }
  t.true(report.ok)
  t.is(report.apiVersion, 12)
  t.true(report.capabilities.some(({ name }) => name === 'KVM_CAP_X86_NOTIFY_VMEXIT'))
})
