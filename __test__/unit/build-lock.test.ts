// Tests the lock that allows one `npm` command at a time to build.

import test from 'ava'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { withLock } from '../../npm/scripts/lock.mjs'
import { root } from '../helpers/paths.js'
import { run } from '../helpers/spawn.js'

const folder = mkdtempSync(join(tmpdir(), 'kvm-accel-lock-'))
test.after.always(() => rmSync(folder, { recursive: true }))

/** Runs a script that has `withLock`. */
const script = (source: string) => {
  const module = JSON.stringify(join(root, 'npm/scripts/lock.mjs'))
  return run(process.execPath, ['--input-type=module', '-e', `import { withLock } from ${module}\n${source}`])
}

test('nested calls do not wait, and the end releases the lock, also after an exception', t => {
  const file = join(folder, 'nested')
  const options = { patience: 0 }
  t.is(
    withLock(file, options, () => withLock(file, options, () => 5)),
    5,
  )
  t.throws(() => withLock(file, options, () => fail()), { message: 'failed' })
  t.false(existsSync(file))
})

const fail = (): never => {
  throw new Error('failed')
}

test('a lock of a process that has ended is taken over, also if another process has its id', async t => {
  const file = join(folder, 'stale')
  const killed = await script(
    `withLock(${JSON.stringify(file)}, { patience: 0 }, () => process.kill(process.pid, 'SIGKILL'))`,
  )
  t.is(killed.status, null)
  t.true(existsSync(file))
  t.is(
    withLock(file, { patience: 0 }, () => 'taken'),
    'taken',
  )
  // This process, started at another time.
  writeFileSync(file, `${process.pid} 1`)
  t.is(
    withLock(file, { patience: 0 }, () => 'taken'),
    'taken',
  )
})

test('a lock of a running process is waited for, at most for the given time', async t => {
  const file = join(folder, 'held')
  // This process holds the lock until the other process has ended.
  const text = withLock(file, { patience: 0 }, () => readFileSync(file, 'utf8'))
  writeFileSync(file, text)
  const { status, stderr } = await script(`withLock(${JSON.stringify(file)}, { patience: 300 }, () => {})`)
  t.is(status, 1)
  t.regex(stderr, new RegExp(`process ${process.pid} has held .*held for more than 0.3 seconds`))
})

test('process.exit() releases a lock', async t => {
  const file = join(folder, 'exit')
  const { status } = await script(`withLock(${JSON.stringify(file)}, { patience: 0 }, () => process.exit(3))`)
  t.is(status, 3)
  t.false(existsSync(file))
})

test('processes that start at the same time on a stale lock hold it in turn', async t => {
  const [file, count] = [join(folder, 'many'), join(folder, 'count')]
  writeFileSync(file, '999999999 1')
  writeFileSync(count, '0')
  const add = `
    import { readFileSync, writeFileSync } from 'node:fs'
    for (let n = 0; n < 20; n++) withLock(${JSON.stringify(file)}, { patience: 50_000 }, () => {
      const now = Number(readFileSync(${JSON.stringify(count)}, 'utf8'))
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1)
      writeFileSync(${JSON.stringify(count)}, String(now + 1))
    })`
  const finished = await Promise.all([1, 2, 3, 4].map(() => script(add)))
  for (const { status, stderr } of finished) t.is(status, 0, stderr)
  t.is(readFileSync(count, 'utf8'), '80')
})
