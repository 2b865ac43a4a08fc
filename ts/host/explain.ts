import { KvmUnavailableError } from '../errors/host/kvm-unavailable-error.js'
import { diagnoseKvm } from './diagnose.js'
import { collectHostFacts } from './facts.js'

/**
 * Replaces a {@link KvmUnavailableError} that only says that the device does not open with one that says why and what to
 * do. Any other error is returned as it is.
 *
 * @param device The KVM device that was tried.
 */
export async function explainUnavailable(error: unknown, device?: string): Promise<unknown> {
  if (!(error instanceof KvmUnavailableError) || error.reason !== 'unknown') return error
  return diagnoseKvm(await collectHostFacts(device)) ?? error
}
