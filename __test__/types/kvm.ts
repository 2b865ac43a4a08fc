// The types of kvm-accel/kvm. Compiled, never run.

import { KvmClosedError, KvmRegs, KvmRun, KvmSregs, type Kvm, type Struct, type Vcpu, type Vm } from 'kvm-accel/kvm'
import type { Equal, Expect, WritableKeys } from './expect.js'

export type Structures = [
  Expect<KvmRegs extends Struct ? true : false>,
  Expect<Equal<KvmRegs['rip'], bigint>>,
  Expect<Equal<KvmRun['io']['port'], number>>,
  Expect<Equal<KvmRun['io']['dataOffset'], number>>,
  Expect<Equal<KvmRun['internal']['data'], BigUint64Array<ArrayBufferLike>>>,
  Expect<Equal<'rip' extends WritableKeys<KvmRegs> ? true : false, true>>,
  Expect<Equal<'cs' extends WritableKeys<KvmSregs> ? true : false, false>>,
]

export type Objects = [
  Expect<Equal<ReturnType<Kvm['createVm']>, Vm>>,
  Expect<Equal<ReturnType<Vm['createVcpu']>, Vcpu>>,
  Expect<Equal<ReturnType<Vcpu['run']>, number>>,
  Expect<Equal<Vcpu['runPage'], ArrayBuffer>>,
  Expect<Equal<Vm['memory'], ReadonlyMap<number, Uint8Array>>>,
  Expect<Equal<KvmClosedError['code'], 'ERR_KVM_CLOSED'>>,
]

export function wrong(vcpu: Vcpu, regs: KvmRegs): void {
  // @ts-expect-error: 64-bit members are bigints
  regs.rip = 5
  // @ts-expect-error: another structure
  vcpu.setSregs(regs)
}
