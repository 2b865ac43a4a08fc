import { KvmEnableCap } from '../generated/vm-structs.js'

/** Creates the argument of `KVM_ENABLE_CAP`. */
export function enabling(capability: number, args: readonly (number | bigint)[]): KvmEnableCap {
  const cap = new KvmEnableCap()
  cap.cap = capability
  args.forEach((value, index) => (cap.args[index] = BigInt(value)))
  return cap
}
