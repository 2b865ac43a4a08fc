export { resolveAccelerators, type ResolvedAccelerators } from './resolve.js'
export { accelProperties, type AccelProperty } from './schema.js'
export type { AccelInput, AccelOptions, AccelProperties, KernelIrqchip, NotifyBudget, NotifyPolicy } from './types.js'
