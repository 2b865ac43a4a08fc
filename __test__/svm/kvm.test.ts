// The tests of `__test__/kvm`, on the second host's stock kernel.

import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { root, scratch } from '../helpers/paths.js'
import { kvm, requires, svmHost } from '../helpers/requires.js'
import { inTurn, inside, patience, secondTries } from '../helpers/second-host.js'

const test = requires(svmHost, kvm)

test('The KVM tests pass on a stock kernel with kvm-amd', async t => {
  t.timeout(patience)
  // Not about the host, and too much for an emulator: hundreds of processes that fail on purpose or by what the interposer answers,
  // example programs, packing, terminals and sockets of this process. passt follows the host's default route, and there is none.
  const elsewhere = ['examples', 'fault', 'host-limits', 'install', 'passt', 'serial-socket', 'terminal']
  const files = readdirSync(join(root, '__test__/kvm'))
    .filter(name => name.endsWith('.test.ts') && !elsewhere.includes(name.slice(0, -'.test.ts'.length)))
    .map(name => `__test__/kvm/${name}`)
  // A host has one processor, so there are two of them.
  const halves = [0, 1].map(half => files.filter((_, index) => index % 2 === half))
  const boots = halves.map((half, index) => {
    const script = `echo 16 > /proc/sys/vm/nr_hugepages\n${inTurn('node_modules/.bin/ava --timeout=5m --serial', half)}`
    return inside([], ['sh', '-c', script], join(scratch(), `svm-kvm-${index}`))
  })
  for (const { status, stdout, stderr } of await Promise.all(boots)) {
    t.log(...secondTries(stdout))
    t.is(status, 0, `${stdout}${stderr}`)
  }
})
