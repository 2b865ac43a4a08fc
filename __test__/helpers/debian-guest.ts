// Runs on the second host. Boots Debian from the folder that `.ci/debian-guest` created, logs in,
// powers off, and writes a report of each boot.

import { copyFileSync, constants, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { stripVTControlCharacters } from 'node:util'
import { Machine, type Exit } from 'kvm-accel'

/** The result of one boot. */
export interface DebianBoot {
  readonly cpus: number
  /** The guest's answer to `nproc`. */
  readonly nproc: string | undefined
  readonly exit: Exit
  readonly console: string
}

/** Milliseconds. A boot takes two minutes on the second host, and longer beside other tests. */
const limit = 480_000

export async function bootDebian(folder: string, cpus: number): Promise<DebianBoot> {
  await using machine = await Machine.create({
    kernel: join(folder, 'vmlinuz'),
    initrd: join(folder, 'initrd.img'),
    append: 'console=ttyS0 root=/dev/vda rw panic=-1',
    cpus,
    memory: '512M',
    disks: [{ path: '/dev/shm/root.img' }],
    noReboot: true,
    serial: 'stream',
    signal: AbortSignal.timeout(limit),
  })
  await machine.start()
  let raw = ''
  let text = ''
  const answers = [
    { to: /login: $/, text: 'root\n' },
    { to: /root@debian:~# $/, text: 'echo nproc=$(nproc); poweroff\n' },
  ]
  for await (const chunk of machine.serial) {
    // Shows the console in the log of a failed test.
    process.stdout.write(chunk)
    // Removes colours and the sequence that enables bracketed paste.
    raw += String(chunk)
    text = stripVTControlCharacters(raw)
    if (answers[0]?.to.test(text)) machine.serial.write(answers.shift()?.text)
  }
  return { cpus, nproc: /^nproc=(\d+)/m.exec(text)?.[1], exit: await machine.wait(), console: text }
}

const [folder, ...counts] = process.argv.slice(2)
if (folder !== undefined && process.env['OUT']) {
  // The cache is read-only there, and the guest writes its disk.
  copyFileSync(join(folder, 'root.img'), '/dev/shm/root.img', constants.COPYFILE_FICLONE)
  const boots: DebianBoot[] = []
  for (const cpus of counts) {
    const start = performance.now()
    boots.push(await bootDebian(folder, Number(cpus)))
    console.log(`\nTIME ${Math.round((performance.now() - start) / 1000)} ${cpus} vCPUs`)
  }
  writeFileSync(join(process.env['OUT'], 'report.json'), JSON.stringify(boots))
}
