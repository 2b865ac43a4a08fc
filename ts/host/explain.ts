import { KvmUnavailableError } from '../errors/host/kvm-unavailable-error.js'
import { diagnoseKvm } from './diagnose.js'
import { collectHostFacts } from './facts.js'

/**
 * Replaces a {@link KvmUnavailableError} that only reports that the device cannot be opened by an
 * error that names the cause and the remedy. Returns any other error unchanged.
 *
 * @param device The path of the KVM device that was tried.
 */
export async function explainUnavailable(error: unknown, device?: string): Promise<unknown> {
  if (!(error instanceof KvmUnavailableError) || error.reason !== 'unknown') return error
  return diagnoseKvm(await collectHostFacts(device)) ?? error
}
