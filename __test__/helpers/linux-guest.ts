// Linux with a shell script as its init, for tests that examine a device from inside the guest.

import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { MachineOptions } from 'kvm-accel'
import { cpio, type Entry } from './cpio.js'

const kernel = process.env['KVM_ACCEL_TEST_KERNEL'] ?? ''

/** Returns the path of a file beside the test kernel. */
export const guestFile = (name: string): string => join(dirname(kernel), name)

/** Shortens the boot. With `reboot=t` a reboot is a triple fault. */
export const append =
  'console=ttyS0 reboot=t panic=-1 tsc=reliable no_timer_check rodata=off noreplace-smp norandmaps percpu_alloc=page quiet'

/**
 * Returns an initramfs whose init is `script`. BusyBox's shell runs it, with its built-in commands,
 * and with /proc and /dev mounted. The guest reboots at the end of the script. `files` are added to
 * the initramfs.
 *
 * The script must not use pipes: on a host that emulates ring 0, BusyBox's shell now and then
 * crashes in a pipe, under QEMU too.
 */
export function initramfs(script: string, files: readonly Entry[] = []): Buffer {
  const init = `#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
${script}
reboot -f
`
  const busybox = readFileSync(guestFile('busybox.cpio'))
  return Buffer.concat([busybox, cpio([{ name: 'init', contents: init }, ...files])])
}

/**
 * Returns the options of a machine that boots Linux into `script`, with COM1 as a stream. `kernel`:
 * `tiny`, or `net` for INET, sysfs and ACPI.
 */
export function linuxGuest(script: string, { kernel = 'tiny', files = [] as readonly Entry[] } = {}): MachineOptions {
  return {
    kernel: guestFile(`vmlinux-${kernel}`),
    initrd: initramfs(script, files),
    memory: '128M',
    append,
    serial: 'stream',
    noReboot: true,
  }
}
