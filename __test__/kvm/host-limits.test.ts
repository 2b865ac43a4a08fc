// Tests the errors and warnings on a host that is too old, too new or too small, or lacks a required capability.

import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { guestImage } from 'kvm-accel'
import { interpose } from '../helpers/interpose.js'
import { root, scratch } from '../helpers/paths.js'
import { kvm, preload, requires } from '../helpers/requires.js'
import { run } from '../helpers/spawn.js'

const test = requires(kvm, preload)

interface Attempt {
  readonly reason?: string
  readonly warnings?: readonly string[]
  readonly error?: { readonly code?: string; readonly capability?: string; readonly message: string }
}

/** Creates a machine with two vCPUs on such a host. Returns the outcome. */
const attempt = async (rules: string): Promise<Attempt> => {
  const script = join(root, '__test__/helpers/attempts.mjs')
  const { status, stdout, stderr } = await run(process.execPath, [script], { env: interpose(rules).env })
  if (status !== 0) throw new Error(`Status ${status} under ${rules}: ${stderr}`)
  return (JSON.parse(stdout) as { first: Attempt }).first
}

for (const version of [11, 13]) {
  test(`KVM API version ${version} is refused`, async t => {
    const { error } = await attempt(`answer:KVM_GET_API_VERSION=${version}`)
    t.is(error?.code, 'ERR_KVM_UNAVAILABLE')
    t.regex(error?.message ?? '', new RegExp(`\\b${version}\\b`))
  })
}

/** The variants of the required capabilities in `required.rs`. */
const source = readFileSync(join(root, 'crates/accel/src/required.rs'), 'utf8')
const list = source.slice(source.indexOf('pub const REQUIRED'))
const required = [...list.matchAll(/Capability::(\w+)/g)].map(([, variant = '']) => variant)

test('the required capabilities are those of QEMU 10.0 and those that kicks and interrupts need', t => {
  t.is(required.length, 20)
})

/** KVM_CAP_* of `include/uapi/linux/kvm.h`, in the order of the list. */
const numbers: readonly number[] = [3, 21, 30, 40, 36, 122, 4, 7, 14, 77, 25, 50, 55, 41, 51, 31, 39, 37, 32, 136]

for (const [index, variant] of required.entries()) {
  test(`without capability ${numbers[index]} (${variant}) creation fails and names the capability`, async t => {
    const { error } = await attempt(`cap:${numbers[index]}=0`)
    t.is(error?.code, 'ERR_KVM_CAPABILITY', error?.message)
    t.is(error?.capability?.replaceAll('_', '').toLowerCase(), `kvmcap${variant.toLowerCase()}`)
  })
}

test('more vCPUs than the kernel recommends cause a warning, more than its maximum an error', async t => {
  t.like(await attempt('cap:9=1'), { reason: 'guest-reset', warnings: ['MANY_VCPUS'] })
  t.like(await attempt('cap:9=1;cap:66=1'), { error: { code: 'ERR_MACHINE_CONFIG' } })
  t.like(await attempt('cap:9=0;cap:66=0'), { reason: 'guest-reset', warnings: [] }, "QEMU's fallback is 4, and 4")
})

test('without descriptors every error of a creation has a code and names ulimit -n', async t => {
  t.timeout(300_000)
  const disk = join(scratch(), 'limits.img')
  writeFileSync(disk, new Uint8Array(1 << 16))
  const kernel = join(scratch(), 'limits.kernel')
  writeFileSync(kernel, guestImage('spin'))
  const script = `
    import { closeSync, openSync } from 'node:fs'
    import { KvmAccelError, Machine } from 'kvm-accel'
    const options = {
      kernel: ${JSON.stringify(kernel)}, memory: '16M', cpus: 2, serial: { file: '/dev/null' },
      disks: [{ path: ${JSON.stringify(disk)} }], rng: true, balloon: true, vsock: { cid: 3 },
      consoles: [{ target: 'stream' }], fwCfg: { 'opt/x': { file: ${JSON.stringify(disk)} } },
    }
    await (await Machine.create(options)).stop()
    const open = []
    try { for (;;) open.push(openSync('/dev/null')) } catch {}
    let refused = 0
    for (;;) {
      try {
        await (await Machine.create(options)).stop()
        break
      } catch (error) {
        refused++
        if (!(error instanceof KvmAccelError) || !/ulimit -n/.test(error.remedy)) console.log(String(error), error.remedy)
      }
      closeSync(open.pop())
    }
    if (refused < 20) console.log('only', refused, 'attempts were refused')
  `
  const node = [process.execPath, '--input-type=module', '-e', script]
  const { status, stdout, stderr } = await run('sh', ['-c', 'ulimit -n 200; exec "$@"', 'sh', ...node], {
    limit: 250,
  })
  t.deepEqual({ status, stdout, stderr }, { status: 0, stdout: '', stderr: '' })
})
