import { KvmUnavailableError } from '../../errors/host/kvm-unavailable-error.js'

/**
 * Checks that the runtime can run a machine. Bun never reports data of a `net.Socket` that takes over
 * a file descriptor, so that the creation of a machine would wait forever.
 *
 * @throws `KvmUnavailableError` `unsupported-runtime` on Bun.
 */
export function checkRuntime(versions: NodeJS.ProcessVersions = process.versions): void {
  const { bun } = versions
  if (bun === undefined) return
  throw new KvmUnavailableError(
    `a machine cannot run on Bun ${bun}: its net.Socket does not take over file descriptors`,
    { reason: 'unsupported-runtime', remedy: 'Run the program with Node.js 20 or later.' },
  )
}
