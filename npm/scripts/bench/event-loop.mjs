// The delay that a machine adds to Node's event loop, beside a busy loop, at the moments that
// __test__/helpers/moments.mjs lists. Each round runs in a process of its own, because some of
// today's stalls never end.

import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { root } from '../steps.mjs'
import { row } from './table.mjs'

/** Milliseconds of added delay. The target. */
const TARGET = 5

/** Seconds after which a process counts as hung. */
const HUNG = 30

const helper = join(root, '__test__/helpers/moments.mjs')

/** Measures the milliseconds of a round; `undefined` if the process hung. */
const measure = name => {
  const child = spawnSync(process.execPath, [helper, name, '1'], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: HUNG * 1000,
    killSignal: 'SIGKILL',
  })
  if (child.signal === 'SIGKILL') return undefined
  if (child.status !== 0) throw new Error(`The measurement of '${name}' ended with ${child.status ?? child.signal}`)
  const [{ control, machine }] = JSON.parse(child.stdout)
  return machine - control
}

/** Measures the milliseconds that each moment adds to the longest delay of the event loop. */
export const eventLoop = async ({ rounds }) => {
  const { moments, neighbours } = await import(helper)
  const rows = []
  for (const [name, { missing }] of Object.entries({ ...moments, ...neighbours })) {
    const reason = missing?.()
    const delays = []
    let hung = false
    for (let round = 0; round < rounds && !hung && !reason; round++) {
      const delay = measure(name)
      if (delay === undefined) hung = true
      else delays.push(delay)
    }
    if (hung) rows.push(row(`${name}: HUNG`, []))
    else rows.push(row(reason ? `${name}: ${reason}` : name, delays, { target: TARGET, signed: true }))
  }
  return { name: 'added delay of the event loop', unit: 'ms', digits: 1, rows }
}
