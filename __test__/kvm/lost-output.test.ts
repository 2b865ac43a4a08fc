// Output that the host cannot write: it is counted and reported, and the machine lives.

import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createReadStream, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { Machine, guestImage, type MachineOptions, type MachineWarning } from 'kvm-accel'
import { guestFile } from '../helpers/guest-file.js'
import { cli, scratch } from '../helpers/paths.js'
import { kvm, requires } from '../helpers/requires.js'

const test = requires(kvm)

/** Runs a guest to its end. Returns its warnings, and the bytes that they report as lost by port. */
async function lossesOf(guest: string, options: Partial<MachineOptions>) {
  const machine = await Machine.create({ kernel: guestImage(guest), memory: '16M', noReboot: true, ...options })
  const warnings: MachineWarning[] = []
  machine.on('warning', warning => warnings.push(warning))
  await machine.start()
  const { reason } = await machine.wait()
  const lost = new Map<string, number>()
  for (const { message } of warnings) {
    const [, port = '', count] = /^(.*) has lost (\d+) bytes? of output/.exec(message) ?? []
    lost.set(port, (lost.get(port) ?? 0) + Number(count))
  }
  return { warnings, lost, reason }
}

test('output to a full disk is a warning with a number, and the guest runs to its end', async t => {
  const { warnings, lost, reason } = await lossesOf('ports', {
    serials: ['stream', { file: '/dev/full' }, { file: '/dev/full' }, 'null'],
    debugConsole: { port: 0xe9, target: { file: '/dev/full' } },
  })
  t.is(reason, 'guest-reset')
  t.deepEqual(new Set(warnings.map(({ code }) => code)), new Set(['OUTPUT_LOST']))
  t.deepEqual([...lost.keys()].toSorted(), ['COM2', 'COM3', 'the debug console'])
  for (const count of lost.values()) t.true(count > 5)
  t.regex(warnings[0]?.message ?? '', /to '\/dev\/full': No space left on device/)
})

test('a guest that floods a full disk causes few warnings, and their numbers add up', async t => {
  const { warnings, lost } = await lossesOf('serial-flood', { append: 'count=200', serial: { file: '/dev/full' } })
  const { lost: all } = await lossesOf('serial-flood', { append: 'count=100', serial: { file: '/dev/full' } })
  t.true(warnings.length * 100 < lost.get('COM1')!, `${warnings.length} warnings`)
  t.true(lost.get('COM1')! > all.get('COM1')!)
  t.true(warnings.at(-1)!.message.includes(`(${lost.get('COM1')} in all)`), warnings.at(-1)!.message)
})

test('output to a FIFO whose reader has gone is lost with a warning', async t => {
  const fifo = join(scratch(), 'output-fifo')
  execFileSync('mkfifo', [fifo])
  const reader = createReadStream(fifo)
  const machine = await Promise.all([
    Machine.create({ kernel: guestImage('serial-flood'), memory: '16M', serial: { file: fifo } }),
    once(reader, 'open'),
  ]).then(
    ([machine]) => machine,
    // The reader had not opened the FIFO yet.
    () => Machine.create({ kernel: guestImage('serial-flood'), memory: '16M', serial: { file: fifo } }),
  )
  const warned = once(machine, 'warning')
  await machine.start()
  await once(reader, 'data')
  reader.destroy()
  const [warning] = (await warned) as [MachineWarning]
  t.is(warning.code, 'OUTPUT_LOST')
  t.regex(warning.message, /its reader has closed it/)
  await machine.stop()
})

test('a stream that the program itself destroys is no loss', async t => {
  const machine = await Machine.create({
    kernel: guestImage('serial-flood'),
    memory: '16M',
    append: 'count=500',
    serial: 'stream',
    noReboot: true,
  })
  machine.on('warning', ({ message }) => t.fail(message))
  machine.serial.destroy()
  await machine.start()
  t.is((await machine.wait()).reason, 'guest-reset')
})

/** Runs `kvm-accel run` in a shell, where `$RUN` is the command. */
async function shell(script: string) {
  const env = { ...process.env, RUN: `${process.execPath} ${cli} run -m 16M -no-reboot` }
  const child = spawn('bash', ['-c', script], { env, stdio: ['ignore', 'pipe', 'pipe'] })
  const [stdout, stderr, [status]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'exit')])
  return { stdout, stderr, status: status as number }
}

test('a file that reaches a limit keeps what it has, and the rest is counted', async t => {
  const file = join(scratch(), 'limited.log')
  const { stderr, status } = await shell(
    `ulimit -f 1; $RUN -kernel ${guestFile('serial-flood')} -append count=500 -serial file:${file}`,
  )
  t.is(status, 0)
  t.is(statSync(file).size, 1024)
  t.regex(stderr, /COM1 has lost \d+ bytes? of output .*File too large/)
})

test('`| head -1` ends a guest that floods', async t => {
  const { stdout, stderr } = await shell(`$RUN -kernel ${guestFile('serial-flood')} -serial stdio | head -1`)
  t.is(stdout.trim().split('\n').length, 1)
  t.regex(stderr, /terminating on SIGPIPE/)
})

for (const [option, expected] of [
  ['-trace kvm_run_exit,file=/dev/full', /-trace cannot write '\/dev\/full'.*ENOSPC/],
  ['-stats 1,file=/dev/full', /-stats cannot write '\/dev\/full'.*ENOSPC/],
] as const) {
  test(`${option}: a full disk is a warning with a number`, async t => {
    const { stdout, stderr, status } = await shell(`$RUN -kernel ${guestFile('hello')} -serial stdio ${option}`)
    t.is(status, 0, stderr)
    t.regex(stdout, /Goodbye/)
    t.regex(stderr, expected)
    t.regex(stderr, /\d+ bytes are lost/)
    t.notRegex(stderr, /internal error/)
  })
}

test('records of -trace that fit before the disk was full are whole', async t => {
  const file = join(scratch(), 'limited.trace')
  await shell(`ulimit -f 4; $RUN -kernel ${guestFile('hello')} -serial null -trace kvm_run_exit,file=${file}`)
  const lines = readFileSync(file, 'utf8').split('\n')
  for (const line of lines.slice(0, -1)) t.notThrows(() => void JSON.parse(line))
})
