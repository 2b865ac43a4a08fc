import test from 'ava'
import { setTimeout as sleep } from 'node:timers/promises'
import { Watch } from '../../ts/machine/events/watch.js'

const never = new Promise(() => {})

/** Keeps the process alive, because the timers of a watch do not. */
const awake = async <T>(body: () => Promise<T>): Promise<T> => {
  const timer = setInterval(() => {}, 1000)
  try {
    return await body()
  } finally {
    clearInterval(timer)
  }
}

test('The first value is available at once, the next after the interval', t =>
  awake(async () => {
    let n = 0
    const watch = new Watch(() => ++n, 20, never)
    const start = performance.now()
    const values = []
    for await (const value of watch) if (values.push(value) === 3) break
    t.deepEqual(values, [1, 2, 3])
    t.true(performance.now() - start >= 35)
    t.deepEqual(await watch.next(), { done: true, value: undefined })
  }))

test('a late reader gets the current value, and no backlog', t =>
  awake(async () => {
    let n = 0
    const watch = new Watch(() => ++n, 10, never)
    await watch.next()
    await sleep(100)
    t.is((await watch.next()).value, 2)
    const start = performance.now()
    await watch.next()
    t.true(performance.now() - start >= 5)
    await watch.return()
  }))

test('return() ends a waiting next()', async t => {
  const watch = new Watch(() => 1, 1_000_000, never)
  await watch.next()
  const waiting = watch.next()
  await sleep(5)
  await watch.return()
  t.true((await waiting).done)
})

test('the iterable ends with the promise that it watches', async t => {
  const watch = new Watch(() => 1, 1_000_000, sleep(20))
  const values = []
  for await (const value of watch) values.push(value)
  t.deepEqual(values, [1])
  t.true((await new Watch(() => undefined, 1, never).next()).done)
})

test('an error is thrown to the reader, and the next read tries again', async t => {
  let n = 0
  const sample = () => {
    if (n++ === 0) throw new Error('not now')
    return n
  }
  const watch = new Watch(sample, 1, never)
  await t.throwsAsync(() => watch.next(), { message: 'not now' })
  t.is((await awake(() => watch.next())).value, 2)
})

test('an interval outside a timer’s range is refused', t => {
  for (const interval of [0, -1, NaN, Infinity, 2 ** 31]) {
    t.throws(() => new Watch(() => 1, interval, never), { code: 'ERR_ARGUMENT', message: /1 to 2147483647/ })
  }
})
