import test from 'ava'
import { join } from 'node:path'
import { cli, root } from '../helpers/paths.js'
import { run } from '../helpers/spawn.js'

const kvmAccel = (...argv: string[]) => run(process.execPath, [cli, ...argv])

test('--help teaches by example', async t => {
  const { status, stdout, stderr } = await kvmAccel('--help')
  t.is(status, 0)
  t.is(stderr, '')
  t.regex(stdout, /kvm-accel doctor/)
  t.regex(stdout, /kvm-accel run -m 256M -kernel vmlinux/)
})

test('--version and -version', async t => {
  t.regex((await kvmAccel('--version')).stdout, /^\d+\.\d+\.\d+\n$/)
  t.regex((await kvmAccel('run', '-version')).stdout, /^kvm-accel version \d/)
})

test('a command that there is not', async t => {
  const { status, stdout, stderr } = await kvmAccel('ruin')
  t.is(status, 1)
  t.is(stdout, '')
  t.regex(stderr, /^kvm-accel: error: unknown command 'ruin'/)
})

test('an error: what, then what to do, on stderr, status 1', async t => {
  const { status, stdout, stderr } = await kvmAccel('run', '-kernal', 'x')
  t.is(status, 1)
  t.is(stdout, '')
  t.is(
    stderr,
    "kvm-accel: error: -kernal: kvm-accel does not have this option. Did you mean '-kernel'?\n" +
      "  'kvm-accel run -help' lists the options.\n",
  )
})

test('a bad property names itself', async t => {
  const { status, stderr } = await kvmAccel('run', '-accel', 'kvm,notify-window=12k', '-kernel', 'x')
  t.is(status, 1)
  t.regex(stderr, /^kvm-accel: error: property 'notify-window' expects uint64/)
})

test('kvm-accel-system-x86_64 is run with the command line of QEMU', async t => {
  const { status, stdout } = await run(process.execPath, [join(root, 'dist/cli/kvm-accel-system.js'), '-accel', 'help'])
  t.is(status, 0)
  t.is(stdout, 'Accelerators supported by kvm-accel:\nkvm\n')
})

test('the package is imported without the addon', async t => {
  const script = `
    const kvmAccel = await import('kvm-accel')
    const loaded = process.report.getReport().sharedObjects.filter((name) => name.endsWith('.node'))
    console.log(typeof kvmAccel.Machine.create, kvmAccel.resolveAccelerators('kvm').candidates.length, loaded.length)`
  const { stdout, stderr } = await run(process.execPath, ['--input-type=module', '--eval', script])
  t.is(stdout, 'function 1 0\n', stderr)
})
