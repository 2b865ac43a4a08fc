// The tutorial that boots a distribution's kernel runs with the test kernel.

import { mkdirSync, mkdtempSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { append, guestFile } from '../helpers/linux-guest.js'
import { scratch } from '../helpers/paths.js'
import { compiler, kvm, linux, passt, requires } from '../helpers/requires.js'
import { runTutorial } from '../helpers/tutorial.js'

requires(
  kvm,
  linux,
  passt,
  compiler,
)('the tutorial boots Linux with a disk, a network and vsock', async t => {
  t.timeout(600_000)
  const folder = mkdtempSync(join(scratch(), 'tutorial-'))
  symlinkSync(guestFile('vmlinux-net'), join(folder, 'vmlinuz'))
  // The kernel has all drivers built in.
  mkdirSync(join(folder, 'modules'))
  writeFileSync(join(folder, 'modules/modules.dep'), '')
  const output = await runTutorial(folder, append.replace('console=ttyS0 ', ''))
  for (const text of [
    'hello from the disk',
    'hello from the web',
    'vsock: hello from the guest',
    'hello from vsock',
    'guest-shutdown',
    'hello from the guest', // debugfs
  ]) {
    t.regex(output, new RegExp(`^${text}\r?$`, 'm'))
  }
})
