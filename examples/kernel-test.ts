// Tests a Linux kernel: node --import=tsx examples/kernel-test.ts KERNEL INITRD
// The guest's init prints `TEST name ok` or `TEST name failed` for each test, and reboots.

import { run } from 'kvm-accel'

const [kernel = 'vmlinux', initrd = 'initrd.cpio'] = process.argv.slice(2)

const { reason, detail, output } = await run({
  kernel,
  initrd,
  append: 'console=ttyS0 reboot=t panic=-1 tsc=reliable no_timer_check quiet',
  noReboot: true,
  timeout: 300_000,
})
const results = [...output.matchAll(/^TEST (.+) (ok|failed)\r?$/gm)]
for (const [, name, result] of results) console.log(`${result}: ${name}`)

const passed = results.length > 0 && results.every(([, , result]) => result === 'ok')
if (reason !== 'guest-reset' || !passed) {
  console.error(reason, detail ?? '', output.slice(-2000))
  process.exitCode = 1
}
