// Tests `kvm-accel run` on a terminal: which keys reach the guest, and that every end restores the terminal.

import { setTimeout as delay } from 'node:timers/promises'
import { guestFile } from '../helpers/guest-file.js'
import { cli } from '../helpers/paths.js'
import { kvm, requires } from '../helpers/requires.js'
import { Seat } from '../helpers/terminal.js'

const test = requires(kvm)

const echo = (...node: string[]) => {
  const argv = ['run', '-m', '16M', '-kernel', guestFile('serial-echo'), '-nographic', '-no-reboot']
  return new Seat(process.execPath, [...node, cli, ...argv])
}

/** Waits until the terminal is in this mode. */
const mode = async (seat: Seat, cooked: boolean): Promise<void> => {
  while (seat.cooked !== cooked) await delay(20)
}

test('keys reach the guest at once without an echo, also Ctrl-C, and the end of the guest restores the terminal', async t => {
  using seat = echo()
  t.true(seat.cooked)
  await seat.see('serial-echo')
  await mode(seat, false)
  await seat.type('one\x03', '')
  await seat.see('one\x03')
  t.is(seat.screen.split('one').length, 2, 'only the guest echoes')
  await seat.type('\x01\x01two', '')
  await seat.see('\x01two')
  await Promise.all([seat.ended().then(status => t.is(status, 0)), seat.type('q', 'two')])
  t.true(seat.cooked)
})

test('Ctrl-A x ends the machine, Ctrl-A c prints the keys', async t => {
  using seat = echo()
  await seat.see('serial-echo')
  await mode(seat, false)
  await seat.type('\x01c', '')
  await seat.see('Ctrl-A x')
  const [status] = await Promise.all([seat.ended(), seat.type('\x01x', '')])
  t.is(status, 0)
  await seat.see('terminating on Ctrl-A x')
  t.true(seat.cooked)
})

for (const signal of ['SIGTERM', 'SIGHUP', 'SIGINT'] as const) {
  test(`${signal} restores the terminal`, async t => {
    using seat = echo()
    await seat.see('serial-echo')
    await mode(seat, false)
    const ended = seat.ended()
    seat.child.kill(signal)
    t.is(await ended, 0)
    t.true(seat.cooked)
  })
}

for (const signal of ['SIGQUIT', 'SIGABRT', 'SIGALRM', 'SIGXCPU', 'SIGUSR2'] as const) {
  test(`${signal} restores the terminal, and then ends the process as it does by default`, async t => {
    using seat = echo()
    await seat.see('serial-echo')
    await mode(seat, false)
    const ended = seat.ended()
    seat.child.kill(signal)
    t.is(await ended, signal)
    t.true(seat.cooked)
  })
}

test('SIGTERM ends a guest that floods a terminal that no program reads', async t => {
  const argv = ['run', '-m', '16M', '-kernel', guestFile('serial-flood'), '-nographic', '-no-reboot']
  using seat = new Seat(process.execPath, [cli, ...argv])
  await seat.see('10')
  seat.stopReading()
  // The guest fills the terminal meanwhile.
  await delay(1000)
  const ended = seat.ended()
  seat.child.kill('SIGTERM')
  t.is(await ended, 0)
  t.true(seat.cooked)
})

test('a stopped process restores the terminal, and sets raw mode when it continues', async t => {
  using seat = echo()
  await seat.see('serial-echo')
  await mode(seat, false)
  seat.child.kill('SIGTSTP')
  await mode(seat, true)
  seat.child.kill('SIGCONT')
  await mode(seat, false)
  const [status] = await Promise.all([seat.ended(), seat.type('q', '')])
  t.is(status, 0)
  t.true(seat.cooked)
})

test('an uncaught error restores the terminal', async t => {
  const trap = `data:text/javascript,process.on('SIGUSR2', () => { throw new Error('unexpected') })`
  using seat = echo(`--import=${trap}`)
  await seat.see('serial-echo')
  await mode(seat, false)
  const ended = seat.ended()
  seat.child.kill('SIGUSR2')
  t.is(await ended, 1)
  t.true(seat.cooked)
  t.true(seat.screen.includes('unexpected'))
})
