/** Something that the user should know and that does not stop the machine. The command line prints it on stderr. */
export interface MachineWarning {
  /**
   * Stable, for programs:
   * - `ACCELERATOR_SKIPPED`: an accelerator of a fallback list that kvm-accel does not have;
   * - `SHORT_FORM_OPTION`: a property without a value, which QEMU deprecates;
   * - `NOTIFY_UNSUPPORTED`: a notify policy was asked for that this host cannot enforce;
   * - `NOTIFY_EXIT`: the guest kept the CPU without an event window;
   * - `MANY_VCPUS`: more vCPUs than the kernel recommends;
   * - `DIRTY_RING_UNSUPPORTED`: `dirty-ring-size` was asked for on a host without dirty rings; the bitmap is used;
   * - `MANUAL_PROTECT_FAILED`: the kernel refused manual protection of dirty pages, which costs speed alone;
   * - `CPU_FEATURE_UNAVAILABLE`: CPU features were asked for that this host does not offer;
   * - `CPU_MODEL_UNAVAILABLE`: a CPU model that is not made, and the guest sees the host's;
   * - `CPU_PM_UNSUPPORTED`: the host cannot leave idling to the guest;
   * - `EMULATION_FAILURE`: KVM could not emulate an instruction of user-mode code, and the guest went on. The first 8 of a machine
   *   are reported in full, further ones as a number: at most one a second, and when the machine stops;
   * - `DEVICE_NEEDS_RESET`: the guest's driver broke the rules of a virtio device, which does nothing until it is reset; told once for each
   *   device;
   * - `DEVICE_HOST_ERROR`: the host failed a virtio device (no memory, no descriptor, a bug of kvm-accel), which does nothing until the
   *   guest's driver resets it; the message names the failed operation, its error and a remedy. Emitted once for each device;
   * - `VCPU_NOT_STOPPED`: a pause or a reset has waited for a vCPU for 5 seconds, and goes on waiting; the message names it;
   * - `DEVICE_NOT_STILL`: the guest stopped by itself, and a device still had I/O in flight in the host's kernel after 10 seconds.
   */
  readonly code:
    | string
    | 'MANY_VCPUS'
    | 'EMULATION_FAILURE'
    | 'DEVICE_NEEDS_RESET'
    | 'DEVICE_HOST_ERROR'
    | 'DEVICE_NOT_STILL'
    | 'VCPU_NOT_STOPPED'
  /** For people: one line, and the register dump where there is one. */
  readonly message: string
}
