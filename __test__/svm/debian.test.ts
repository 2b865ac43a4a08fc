// Boots a stock distribution on the second host, with a kernel that was not built for these tests.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { DebianBoot } from '../helpers/debian-guest.js'
import { debian, requires, svmHost } from '../helpers/requires.js'
import { passes, patience } from '../helpers/second-host.js'

const test = requires(svmHost, debian)

const counts = [1, 2, 4]

test('Debian boots from its bzImage, initrd and virtio disk to a login prompt, on 1, 2 and 4 vCPUs, and powers off', async t => {
  t.timeout(patience)
  const folder = process.env['KVM_ACCEL_TEST_DEBIAN'] ?? ''
  const command = [process.execPath, '--import=tsx', '__test__/helpers/debian-guest.ts', folder, ...counts.map(String)]
  const { out } = await passes(t, [], command, 'debian')
  const boots = JSON.parse(readFileSync(join(out, 'report.json'), 'utf8')) as DebianBoot[]
  t.deepEqual(
    boots.map(boot => boot.cpus),
    counts,
  )
  for (const { cpus, nproc, exit, console } of boots) {
    t.is(nproc, String(cpus), console)
    t.deepEqual(exit, { reason: 'guest-shutdown' })
    t.regex(console, /virtio_blk virtio0: \[vda\]/)
    t.regex(console, /Power down/)
  }
})
