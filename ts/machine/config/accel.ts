import { build } from '../../schema/build.js'
import { resolveAccelerators, type ResolvedAccelerators } from '../../properties/resolve.js'
import type { AccelInput } from '../../properties/types.js'
import type { AccelOptions, AccelProperties } from '../../properties/types.js'

/** Accelerators have errors of their own, which {@link resolveAccelerators} throws. */
export const accelEntry = build<AccelInput, ResolvedAccelerators, 'kvm'>(
  {
    takes: "an accelerator such as 'kvm,notify-vmexit=run', an object of its properties, or a list of either",
    read: value => resolveAccelerators(value as AccelInput),
    write: ({ candidates }) => candidates.map(accelOptions),
  },
  { default: 'kvm', cli: '-accel' },
)

/** Leaves out a notify policy that was not requested, because giving it would request it. */
function accelOptions({ kvmShadowMem, notifyBudget, notifyAsked, ...rest }: AccelProperties): AccelOptions {
  const { notifyVmexit, notifyWindow, ...others } = rest
  return {
    ...others,
    kvmShadowMem: kvmShadowMem ?? -1,
    notifyBudget: notifyBudget === null ? 'unlimited' : `${notifyBudget.exits}/${notifyBudget.seconds}`,
    ...((notifyAsked || notifyVmexit === 'disable') && { notifyVmexit, notifyWindow }),
  }
}
