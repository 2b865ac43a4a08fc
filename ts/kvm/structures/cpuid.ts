import { KvmCpuidEntry2 } from '../generated/vcpu-structs.js'
import { emptyList, entries, listOf } from './lists.js'

/** Bytes of `kvm_cpuid2` before its entries. */
const HEADER = 8

/** The kernel takes and gives at most 256. */
const MOST = 256

/** A list with room for what the kernel gives. */
export const roomForCpuid = (): Uint8Array => emptyList(HEADER, KvmCpuidEntry2.size, MOST)

/** The entries of a list that the kernel filled. */
export const cpuidOf = (list: Uint8Array): KvmCpuidEntry2[] => entries(list, HEADER, KvmCpuidEntry2)

/** A list of these entries. */
export const cpuidList = (from: readonly KvmCpuidEntry2[]): Uint8Array => listOf(HEADER, KvmCpuidEntry2, from)
