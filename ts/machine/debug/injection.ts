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
 * @throws RangeError when the vCPU does not exist, or 64 injections already wait for it.
 */
export function injectNotify(control: Control, cpus: number, drill: NotifyDrill): Promise<void> {
  return control.whole(async () => {
    const { vcpu = 0, contextInvalid = false } = drill
    if (!Number.isInteger(vcpu) || vcpu < 0 || vcpu >= cpus) {
      throw new RangeError(`Invalid vCPU ${vcpu}: expected a number from 0 to ${cpus - 1}`)
    }
    const accepted = await control.call({
      operation: 'injectNotify',
      command: { kind: 'inject-notify', vcpu, contextInvalid },
      reply: 'injected',
      map: ({ accepted }) => accepted,
    })
    if (!accepted)
      throw new RangeError(`Cannot inject a notify exit: 64 injections are already pending for vCPU ${vcpu}`)
  })
}
