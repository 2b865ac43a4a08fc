/** The place of the interrupt controllers, see {@link AccelOptions.kernelIrqchip}. */
export type KernelIrqchip = 'on' | 'off' | 'split'

/**
 * The effect of a notify VM exit:
 * - `run`: warn once and continue, unless the guest's context is invalid;
 * - `internal-error`: stop the machine in run state `internal-error`;
 * - `disable`: leave notify VM exits disabled.
 */
export type NotifyPolicy = 'run' | 'internal-error' | 'disable'

/**
 * The limit of `notify-budget`. More than {@link NotifyBudget.exits} notify exits within
 * {@link NotifyBudget.seconds} make `run` behave as `internal-error`.
 */
export interface NotifyBudget {
  /** At least 1, below 2^32. */
  readonly exits: number
  /** At least 1, below 2^32. */
  readonly seconds: number
}
