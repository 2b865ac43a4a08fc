// Files that a machine creates belong to its user alone, and guest memory can stay out of core dumps.

import { chmodSync, existsSync, mkdirSync, readFileSync, statSync, symlinkSync } from 'node:fs'
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { Machine, guestImage, type MachineOptions } from 'kvm-accel'
import { guestFile } from '../helpers/guest-file.js'
import { cli, scratch } from '../helpers/paths.js'
import { kvm, requires } from '../helpers/requires.js'

const test = requires(kvm)

const make = (options: Partial<MachineOptions>): Promise<Machine> =>
  Machine.create({ kernel: guestImage('hello'), memory: '16M', noReboot: true, ...options })

const mode = (path: string): number => statSync(path).mode & 0o777

/** Returns a folder that every user may write, as /tmp. */
const shared = (name: string): string => {
  const folder = join(scratch(), name)
  mkdirSync(folder)
  chmodSync(folder, 0o1777)
  return folder
}

test('files and sockets of a machine are created for this user only', async t => {
  const folder = shared('modes')
  const [serial, memory, socket, console] = ['serial', 'memory', 'socket', 'console'].map(name => join(folder, name))
  await using _ = await make({
    memory: { size: '16M', path: memory!, share: true },
    serials: [{ file: serial! }, { socket: socket!, server: true }],
    consoles: [{ target: { file: console! } }],
  })
  for (const path of [serial, memory, socket, console]) t.is(mode(path!), 0o600, path)
})

test('a symbolic link in a directory that every user may write is refused, and elsewhere it is followed', async t => {
  const folder = shared('links')
  const target = join(scratch(), 'link-target')
  const link = join(folder, 'link')
  symlinkSync(target, link)
  const message = /is a symbolic link in a directory that every user may write/
  await t.throwsAsync(make({ serial: { file: link } }), { code: 'ERR_MACHINE_CONFIG', message })
  await t.throwsAsync(make({ memory: { size: '16M', path: link } }), { code: 'ERR_MACHINE_CONFIG', message })
  await t.throwsAsync(make({ consoles: [{ target: { file: link } }] }), { code: 'ERR_MACHINE_CONFIG', message })
  const base = ['run', '-m', '16M', '-no-reboot', '-kernel', guestFile('hello'), '-serial', 'null']
  for (const option of [
    ['-pidfile', link],
    ['-trace', `kvm_run_exit,file=${link}`],
    ['-stats', `1,file=${link}`],
  ]) {
    const { status, stderr } = spawnSync(process.execPath, [cli, ...base, ...option], { encoding: 'utf8' })
    t.is(status, 1)
    t.regex(stderr, message)
  }
  t.false(existsSync(target))
  const own = join(scratch(), 'own-link')
  symlinkSync(target, own)
  await (await make({ serial: { file: own } })).stop()
  t.is(mode(target), 0o600)
})

test('the reports of the command line are created for this user only', t => {
  const [trace, stats] = [join(scratch(), 'modes.trace'), join(scratch(), 'modes.stats')]
  const argv = ['run', '-m', '16M', '-no-reboot', '-kernel', guestFile('hello'), '-serial', 'null']
  const reports = ['-trace', `kvm_run_exit,file=${trace}`, '-stats', `1,file=${stats}`]
  t.is(spawnSync(process.execPath, [cli, ...argv, ...reports]).status, 0)
  t.deepEqual([mode(trace), mode(stats)], [0o600, 0o600])
})

test('dumpGuestCore: false leaves guest memory out of core dumps', async t => {
  /** The kernel's flags of the mappings of guest memory. */
  const flags = (path: string): string[] => {
    const mappings = readFileSync('/proc/self/smaps', 'utf8').split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m)
    return mappings
      .filter(mapping => mapping.includes(path))
      .map(mapping => /^VmFlags: (.*)$/m.exec(mapping)?.[1] ?? '')
  }
  for (const dumpGuestCore of [true, false]) {
    const path = join(scratch(), `dump-${dumpGuestCore}`)
    await using _ = await make({ memory: { size: '16M', path, share: true }, dumpGuestCore })
    const found = flags(path)
    t.true(found.length > 0)
    for (const words of found) t.is(words.split(' ').includes('dd'), !dumpGuestCore, words)
  }
})
