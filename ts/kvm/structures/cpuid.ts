import { KvmCpuidEntry2 } from '../generated/vcpu-structs.js'
import { emptyList, entries, listOf } from './lists.js'

/** Bytes of `kvm_cpuid2` before its entries. */
const HEADER = 8

/** The kernel's maximum number of entries. */
const MOST = 256

/** Creates a list with room for all entries of the kernel. */
export const roomForCpuid = (): Uint8Array => emptyList(HEADER, KvmCpuidEntry2.size, MOST)

/** Returns the entries of a list that the kernel filled. */
export const cpuidOf = (list: Uint8Array): KvmCpuidEntry2[] => entries(list, HEADER, KvmCpuidEntry2)

/** Creates a list of these entries. */
export const cpuidList = (from: readonly KvmCpuidEntry2[]): Uint8Array => listOf(HEADER, KvmCpuidEntry2, from)
