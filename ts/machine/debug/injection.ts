import { checkVcpu, invalidArgument } from '../../errors/operation/argument-error.js'
import type { NotifyDrill } from '../events/notify-event.js'
import type { Control } from '../lifecycle/control.js'

/** Sends an NMI to every vCPU. */
export function injectNmi(control: Control): Promise<void> {
  return control.call({
    operation: 'injectNmi',
    command: { kind: 'inject-nmi' },
    reply: 'done',
    map: () => {},
  })
}

/**
 * Injects a notify exit into a vCPU of a machine that has `cpus` vCPUs.
 *
 * @throws {@linkcode ArgumentError} when the vCPU does not exist, or 64 injections already wait for it.
 */
export function injectNotify(control: Control, cpus: number, drill: NotifyDrill): Promise<void> {
  return control.whole(async () => {
    const { vcpu = 0, contextInvalid = false } = drill
    checkVcpu(vcpu, cpus)
    const accepted = await control.call({
      operation: 'injectNotify',
      command: { kind: 'inject-notify', vcpu, contextInvalid },
      reply: 'injected',
      map: ({ accepted }) => accepted,
    })
    if (!accepted) throw invalidArgument('vcpu', vcpu, 'a vCPU for which fewer than 64 injections wait')
  })
}
