// A guest's write that exits to user space, beside a write that signals an eventfd and a coalesced
// write.

import { rustBench } from './rust-bench.mjs'
import { ratios, row } from './table.mjs'

/**
 * Writes in a round, which takes few milliseconds. A multiple of the capacity of the ring of
 * coalesced writes, so that the exits of a full ring are included.
 */
const WRITES = 510

/** Measures the microseconds of each write of `kind` (`pio`, `mmio`). */
export const writes = async ({ rounds, kind }) => {
  const bench = rustBench('writes')
  const times = { exit: [], ioeventfd: [], coalesced: [] }
  try {
    for (let round = 0; round < rounds; round++) {
      const result = await bench.ask(`${kind} ${WRITES}`)
      for (const name of Object.keys(times)) times[name].push(result[name] / 1000)
    }
  } finally {
    bench.end()
  }
  const share = (name, title) => row(title, ratios(times[name], times.exit), { unit: ' x' })
  return {
    name: `${kind.toUpperCase()} write`,
    unit: 'us',
    digits: 2,
    rows: [
      row('leaves the guest', times.exit),
      row('signals an ioeventfd', times.ioeventfd),
      share('ioeventfd', '  of one that leaves'),
      row('is coalesced', times.coalesced),
      share('coalesced', '  of one that leaves'),
    ],
  }
}
