import { resolveAccelerators, type ResolvedAccelerators } from '../../properties/resolve.js'
import { accelMembers, type AccelInput, type AccelOptions, type AccelProperties } from '../../properties/schema.js'
import { build } from '../../schema/build.js'
import { writeMembers } from '../../schema/compound.js'

/** Accelerators have errors of their own, which {@link resolveAccelerators} throws. */
export const accelEntry = build<AccelInput, ResolvedAccelerators, 'kvm'>(
  {
    takes: "an accelerator such as 'kvm,notify-vmexit=run', an object of its properties, or a list of either",
    nested: { name: 'AccelOptions', members: accelMembers },
    read: value => resolveAccelerators(value as AccelInput),
    write: ({ candidates }) => candidates.map(accelOptions),
  },
  { default: 'kvm', cli: '-accel' },
)

/** Leaves out a notify policy that was not requested, because giving it would request it. */
function accelOptions({ notifyAsked, ...properties }: AccelProperties): AccelOptions {
  const { notifyVmexit, notifyWindow, ...others } = writeMembers(accelMembers, properties)
  return { ...others, ...((notifyAsked || notifyVmexit === 'disable') && { notifyVmexit, notifyWindow }) }
}
