import test, { type ExecutionContext } from 'ava'
import { spawnSync } from 'node:child_process'
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { cli, root } from '../helpers/paths.js'
import { run } from '../helpers/spawn.js'

const kvmAccel = (...argv: string[]) => run(process.execPath, [cli, ...argv])

test('--help shows examples', async t => {
  const { status, stdout, stderr } = await kvmAccel('--help')
  t.is(status, 0)
  t.is(stderr, '')
  t.regex(stdout, /kvm-accel doctor/)
  t.regex(stdout, /kvm-accel run -m 256M -kernel vmlinux/)
})

test('--version and -version print the version', async t => {
  t.regex((await kvmAccel('--version')).stdout, /^\d+\.\d+\.\d+\n$/)
  t.regex((await kvmAccel('run', '-version')).stdout, /^kvm-accel version \d/)
})

test('an unknown command is an error', async t => {
  const { status, stdout, stderr } = await kvmAccel('ruin')
  t.is(status, 1)
  t.is(stdout, '')
  t.regex(stderr, /^kvm-accel: error: unknown command 'ruin'/)
})

test('an error prints the message and the remedy on stderr, with status 1', async t => {
  const { status, stdout, stderr } = await kvmAccel('run', '-kernal', 'x')
  t.is(status, 1)
  t.is(stdout, '')
  t.is(
    stderr,
    "kvm-accel: error: -kernal: kvm-accel does not have this option. Did you mean '-kernel'?\n" +
      "  'kvm-accel run --help' lists the options.\n",
  )
})

test('an invalid property is an error with its name', async t => {
  const { status, stderr } = await kvmAccel('run', '-accel', 'kvm,notify-window=12k', '-kernel', 'x')
  t.is(status, 1)
  t.regex(stderr, /^kvm-accel: error: property 'notify-window' expects uint64/)
})

test('kvm-accel-system-x86_64 accepts the command line of QEMU', async t => {
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

/** Creates a copy of the command line whose compiled code is `compiled(code)`, or missing if that is undefined. */
async function copyOfCli(t: ExecutionContext, compiled: (code: Buffer) => Buffer | undefined): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'kvm-accel-'))
  t.teardown(() => rm(folder, { recursive: true }))
  await cp(join(root, 'dist/cli'), join(folder, 'dist/cli'), { recursive: true })
  await cp(join(root, 'package.json'), join(folder, 'package.json'))
  const cli = join(folder, 'dist/cli')
  const [name, ...more] = (await readdir(cli)).filter(name => name.endsWith('.compiled'))
  t.deepEqual([typeof name, more], ['string', []])
  const path = join(cli, name!)
  const code = compiled(await readFile(path))
  await (code ? writeFile(path, code) : rm(path))
  return join(cli, 'kvm-accel.js')
}

for (const [what, compiled] of Object.entries({
  'without compiled code': () => undefined,
  'with empty compiled code': () => Buffer.alloc(0),
  'with compiled code of another build of Node': (code: Buffer) => {
    // Changes the identity at the end, and the code.
    const other = Buffer.from(code)
    other.write('X', other.length - 4)
    return other.fill(0xff, 1000, other.length / 2)
  },
})) {
  test(`the command line runs ${what}`, async t => {
    const { status, stdout } = await run(process.execPath, [await copyOfCli(t, compiled), 'run', '-accel', 'help'])
    t.is(status, 0)
    t.is(stdout, 'Accelerators supported by kvm-accel:\nkvm\n')
  })
}

test('V8 accepts the compiled code of the command line', async t => {
  const cli = join(root, 'dist/cli')
  const name = (await readdir(cli)).find(name => name.endsWith('.compiled'))!
  const filename = join(cli, name.replace('.compiled', ''))
  const code = (await readFile(`${filename}.compiled`)).subarray(
    0,
    -Buffer.byteLength(JSON.stringify([process.versions, process.config])),
  )
  // In a process with the flags of the build, because this process has other flags.
  const script = `
    const { Script } = require('node:vm'), { readFileSync } = require('node:fs')
    const cachedData = Buffer.from(readFileSync(0, 'latin1'), 'base64')
    console.log(new Script(readFileSync(process.argv[1], 'latin1'), { cachedData }).cachedDataRejected)`
  const { status, stdout } = spawnSync(process.execPath, ['--eval', script, filename], {
    input: code.toString('base64'),
    encoding: 'utf8',
  })
  t.is(status, 0)
  t.is(stdout, 'false\n')
})
