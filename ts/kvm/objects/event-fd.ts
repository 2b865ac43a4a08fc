import type { BindingEventFd } from '../../native/binding.cjs'
import { native } from '../../native/native.js'
import { Closable } from './closable.js'
import { made } from './failed.js'

/**
 * An eventfd: a counter that the kernel and this process share, for {@linkcode Vm.irqfd} and
 * {@linkcode Vm.ioeventfd}.
 *
 * @throws {@linkcode KvmIoctlError} `EMFILE` when this process has too many open files.
 *
 * @example
 * ```ts
 * import { EventFd, type Vm } from 'kvm-accel/kvm'
 *
 * function doorbell(vm: Vm): EventFd {
 *   const rung = new EventFd()
 *   vm.ioeventfd(rung, { addr: 0x510, len: 2, pio: true }) // a write no longer ends run()
 *   return rung
 * }
 * ```
 */
export class EventFd extends Closable {
  readonly #native: BindingEventFd

  constructor() {
    const event = made('eventfd', native().createEventFd())
    super(event)
    this.#native = event
  }

  /** The file descriptor. This object owns it: do not close it. */
  get fd(): number {
    return this.checked('fd', this.#native.number())
  }

  /** Reads and clears the counter; 0 when nothing was added. Does not wait. */
  read(): bigint {
    return this.made('read', this.#native.take())
  }

  /** Adds to the counter. On an irqfd this causes an interrupt. */
  write(count: bigint = 1n): void {
    this.checked('write', this.#native.add(count))
  }
}
