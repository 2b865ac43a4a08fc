import { PassThrough } from 'node:stream'
import test from 'ava'
import { ExpectError } from '../../ts/errors/index.js'
import { Conversation } from '../../ts/machine/devices/ports/conversation.js'

const opened = (): { port: PassThrough; conversation: Conversation } => {
  const port = new PassThrough()
  return { port, conversation: new Conversation(port) }
}

test('expect() returns the match and its groups, and later output stays', async t => {
  const { port, conversation } = opened()
  port.write('login: root\nPass')
  const before = await conversation.expect('login: ')
  t.deepEqual(before, { before: '', match: 'login: ', groups: [] })
  t.deepEqual(await conversation.expect(/(\w+)\n(x)?/), { before: '', match: 'root\n', groups: ['root', undefined] })
  const later = conversation.expect(/word:/)
  port.write('word')
  port.write(': $')
  t.is((await later).before, 'Pass')
  t.is(String(port.read()), ' $')
})

test('a pattern and a character may arrive in pieces, and bytes that are no UTF-8 stay whole', async t => {
  const { port, conversation } = opened()
  const found = conversation.expect('ü€')
  for (const byte of [0xff, ...Buffer.from('aü€'), 0x80, 0x81]) port.write(Buffer.of(byte))
  t.is((await found).before, '\ufffda')
  await new Promise(resolve => setImmediate(resolve))
  t.deepEqual(port.read(), Buffer.of(0x80, 0x81))
  port.write(Buffer.of(0xfe, 0x41, 0x42, 0xff))
  await conversation.expect(/A/)
  t.deepEqual(port.read(), Buffer.of(0x42, 0xff))
})

test('the state of a global expression is neither used nor changed', async t => {
  const { port, conversation } = opened()
  const pattern = /a/g
  pattern.lastIndex = 5
  port.write('xa')
  t.is((await conversation.expect(pattern)).before, 'x')
  t.is(pattern.lastIndex, 5)
})

test('calls of expect() wait for each other', async t => {
  const { port, conversation } = opened()
  const all = Promise.all([conversation.expect('1'), conversation.expect('2'), conversation.expect('3')])
  port.write('a1b2c3')
  t.deepEqual(
    (await all).map(({ before }) => before),
    ['a', 'b', 'c'],
  )
})

test('lines have no ends, and a loop that is left leaves the rest', async t => {
  const { port, conversation } = opened()
  port.write('one\r\ntwo\n\nfo')
  const seen: string[] = []
  for await (const line of conversation.lines()) {
    seen.push(line)
    if (line === '') break
  }
  t.deepEqual(seen, ['one', 'two', ''])
  port.end('ur')
  for await (const line of conversation.lines()) seen.push(line)
  t.is(seen.at(-1), 'four')
  t.deepEqual(await conversation.lines().next(), { done: true, value: undefined })
})

test('a line longer than 64 KiB comes in pieces, and memory stays bounded while a pattern does not come', async t => {
  const { port, conversation } = opened()
  port.write(`${'x'.repeat(70_000)}\nend`)
  const lines = conversation.lines()
  t.is((await lines.next()).value?.length, 65_536)
  t.is((await lines.next()).value?.length, 70_000 - 65_536)
  await lines.return(undefined)
  const found = conversation.expect('here')
  for (let n = 0; n < 100; n++) port.write('y'.repeat(10_000))
  port.write('here')
  const { before } = await found
  t.true(before.length <= 1 << 16 && before.length > 60_000, `${before.length}`)
})

test('a time limit keeps the output for the next call, and the error has it', async t => {
  const { port, conversation } = opened()
  port.write('Kernel panic\nnot syncing')
  const error = await t.throwsAsync(conversation.expect('login:', { timeout: 20 }), {
    instanceOf: ExpectError,
    code: 'ERR_EXPECT',
    message: /^login: did not arrive: no match within 20 ms; the last output is "not syncing"$/,
  })
  t.is(error.problem, 'timeout')
  t.is(error.output, 'Kernel panic\nnot syncing')
  t.is((await conversation.expect('panic')).before, 'Kernel ')
})

test('a signal ends the wait with its reason', async t => {
  const { port, conversation } = opened()
  const reason = new Error('enough')
  port.write('kept')
  const waiting = conversation.expect('x', { signal: AbortSignal.abort(reason) })
  t.is(await t.throwsAsync(waiting), reason)
  const controller = new AbortController()
  const second = conversation.expect('x', { signal: controller.signal })
  setImmediate(() => controller.abort(reason))
  t.is(await t.throwsAsync(second), reason)
  t.is(String(port.read()), 'kept')
})

test('the end of the output is an error with the output', async t => {
  const { port, conversation } = opened()
  port.end('bye')
  const error = await t.throwsAsync(conversation.expect('hello'), { instanceOf: ExpectError })
  t.is(error.problem, 'ended')
  t.is(error.output, 'bye')
  t.is((await t.throwsAsync(conversation.expect('hello'), { instanceOf: ExpectError })).problem, 'ended')
  const destroyed = opened()
  setImmediate(() => destroyed.port.destroy())
  await t.throwsAsync(destroyed.conversation.expect('hello'), { message: /the output has ended/ })
})

test('a port that a pipe or a listener reads is refused', async t => {
  const { port, conversation } = opened()
  port.pipe(new PassThrough())
  const error = await t.throwsAsync(conversation.expect('x'), { instanceOf: ExpectError })
  t.is(error.problem, 'busy')
})

test('a pattern and a time limit are checked', async t => {
  const { conversation } = opened()
  for (const pattern of ['', undefined, 5, {}]) {
    await t.throwsAsync(conversation.expect(pattern as string), { code: 'ERR_ARGUMENT', message: /invalid pattern/ })
  }
  for (const timeout of [0, -1, 1.5, 2 ** 31, Number.NaN]) {
    await t.throwsAsync(conversation.expect('x', { timeout }), { code: 'ERR_ARGUMENT', message: /invalid timeout/ })
  }
})
