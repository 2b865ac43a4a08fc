import { KvmMsrEntry } from '../generated/vcpu-structs.js'
import { emptyList, entries, listOf } from './lists.js'

/** Bytes of `kvm_msrs` before its entries. */
const HEADER = 8

/** Creates a list that requests these MSRs. */
export function askFor(indices: Iterable<number>): Uint8Array {
  const wanted = [...indices]
  const list = emptyList(HEADER, KvmMsrEntry.size, wanted.length)
  entries(list, HEADER, KvmMsrEntry).forEach((entry, position) => (entry.index = wanted[position] ?? 0))
  return list
}

/** Returns the first `count` values of a list that the kernel filled. */
export function valuesOf(list: Uint8Array, count: number): Map<number, bigint> {
  return new Map(
    entries(list, HEADER, KvmMsrEntry)
      .slice(0, count)
      .map(({ index, data }) => [index, data]),
  )
}

/** Creates a list of values to set. */
export function toSet(values: Iterable<readonly [index: number, value: bigint]>): Uint8Array {
  const list = [...values].map(([index, data]) => Object.assign(new KvmMsrEntry(), { index, data }))
  return listOf(HEADER, KvmMsrEntry, list)
}
