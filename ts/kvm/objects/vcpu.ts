import type { BindingKvmVcpu } from '../../native/binding.cjs'
import { native } from '../../native/native.js'
import { enabling } from '../structures/enable-cap.js'
import { view } from './failed.js'
import { vcpuRequests } from '../generated/requests.js'
import type { KvmGuestDebug } from '../generated/vcpu-structs.js'
import { VcpuState, type StateSizes } from './vcpu-state.js'

/** A signal without a request interrupted the guest: `-EINTR`. */
const AGAIN = -4

/**
 * The engine notices at the entry of a function that it is to end a worker, in a short loop only
 * after a while.
 */
const lookAround = (run: () => number): number => run()

/**
 * A vCPU, created by {@linkcode Vm.createVcpu}. It belongs to the thread that created it. Errors
 * are those of {@linkcode Kvm}.
 *
 * @example
 * ```ts
 * import { KVM_EXIT_IO, KvmRun, type Vcpu } from 'kvm-accel/kvm'
 *
 * function firstPort(vcpu: Vcpu): number | undefined {
 *   const run = new KvmRun(vcpu.runPage) // once: it shows every exit
 *   return vcpu.run() === KVM_EXIT_IO ? run.io.port : undefined
 * }
 * ```
 */
export class Vcpu extends VcpuState {
  readonly #run: () => number

  /**
   * The pages that the kernel shares with the thread of the vCPU: `kvm_run` (see
   * {@linkcode KvmRun}), the data of port I/O at `io.dataOffset`, the ring of coalesced writes.
   * They stay mapped while this buffer is reachable.
   */
  readonly runPage: ArrayBuffer

  /** Identifies the vCPU in {@linkcode Kvm.kick}, in any thread of this process. */
  readonly token: number

  protected readonly sizes: StateSizes

  /** @internal */
  constructor(vcpu: BindingKvmVcpu, sizes: StateSizes) {
    super(vcpu, vcpuRequests)
    this.#run = vcpu.runner()
    this.runPage = view('mmap', vcpu.runPage())
    this.token = vcpu.token()
    this.sizes = sizes
  }

  /**
   * `KVM_RUN`: completes the I/O of the last exit with the data in the run page, and enters the
   * guest until its next exit. A kick causes `KVM_EXIT_INTR`, and clears `immediateExit`. No other
   * cause gives that reason.
   *
   * @returns `KVM_EXIT_…`; {@linkcode Vcpu.runPage} has the details.
   */
  run(): number {
    let reason = this.#run()
    while (reason === AGAIN) reason = lookAround(this.#run)
    return reason >= 0 ? reason : this.checked('KVM_RUN', reason)
  }

  /**
   * Makes the next {@linkcode Vcpu.run} return `KVM_EXIT_INTR`. From another thread:
   * {@linkcode Kvm.kick}.
   *
   * @returns false when the vCPU is closed.
   */
  kick(): boolean {
    return native().kickVcpu(this.token)
  }

  /** `KVM_ENABLE_CAP`, with up to four arguments. */
  enableCap(capability: number, ...args: readonly (number | bigint)[]): void {
    this.withBytes('KVM_ENABLE_CAP', enabling(capability, args).bytes)
  }

  /**
   * `KVM_INTERRUPT`: an external interrupt, without an irqchip in the kernel and when
   * `readyForInterruptInjection` is set.
   */
  interrupt(vector: number): void {
    this.withBytes('KVM_INTERRUPT', new Uint8Array(new Uint32Array([vector]).buffer))
  }

  /** `KVM_NMI`. */
  nmi(): void {
    this.withValue('KVM_NMI')
  }

  /** `KVM_SMI`. */
  smi(): void {
    this.withValue('KVM_SMI')
  }

  /** `KVM_SET_GUEST_DEBUG`: single steps and breakpoints, as `KVM_EXIT_DEBUG`. */
  setGuestDebug(debug: KvmGuestDebug): void {
    this.withBytes('KVM_SET_GUEST_DEBUG', debug.bytes)
  }

  /** `KVM_KVMCLOCK_CTRL`: notifies the guest's watchdog that the guest was paused. */
  kvmclockCtrl(): void {
    this.withValue('KVM_KVMCLOCK_CTRL')
  }

  /**
   * `KVM_GET_STATS_FD`: a file with the vCPU's statistics, for `fs.readSync()`. The caller closes
   * it.
   */
  getStatsFd(): number {
    return this.withValue('KVM_GET_STATS_FD')
  }
}
