export { resolveAccelerators, type ResolvedAccelerators } from './resolve.js'
export type { AccelInput, AccelOptions, AccelProperties } from './schema.js'
export type { KernelIrqchip, NotifyBudget, NotifyPolicy } from './types.js'
