/** The codes of {@link MachineWarning}. */
export const warningCodes = [
  'ACCELERATOR_SKIPPED',
  'SHORT_FORM_OPTION',
  'NOTIFY_UNSUPPORTED',
  'NOTIFY_EXIT',
  'MANY_VCPUS',
  'DIRTY_RING_UNSUPPORTED',
  'MANUAL_PROTECT_FAILED',
  'CPU_FEATURE_UNAVAILABLE',
  'CPU_MODEL_UNAVAILABLE',
  'CPU_PM_UNSUPPORTED',
  'EMULATION_FAILURE',
  'DEVICE_NEEDS_RESET',
  'DEVICE_HOST_ERROR',
  'VCPU_NOT_STOPPED',
  'DEVICE_NOT_STILL',
  'DISK_FORMAT_DETECTED',
  'DISK_FEATURES_CLEARED',
  'OUTPUT_LOST',
  'STDOUT_CLOSED',
] as const

/** A code of {@link MachineWarning}, which describes each. */
export type WarningCode = (typeof warningCodes)[number]

/**
 * A warning for the user. It does not stop the machine. The command line prints it on standard
 * error.
 */
export interface MachineWarning {
  /**
   * The code, stable from one release to the next:
   * - `ACCELERATOR_SKIPPED`: a fallback list names an accelerator that kvm-accel does not have;
   * - `SHORT_FORM_OPTION`: a property has no value, which QEMU deprecates;
   * - `NOTIFY_UNSUPPORTED`: this host cannot enforce the requested notify policy;
   * - `NOTIFY_EXIT`: the guest kept the CPU without an event window;
   * - `MANY_VCPUS`: the machine has more vCPUs than the kernel recommends;
   * - `DIRTY_RING_UNSUPPORTED`: this host has no dirty rings for `dirty-ring-size`; the dirty
   *   bitmap is used instead;
   * - `MANUAL_PROTECT_FAILED`: the kernel refused manual protection of dirty pages; the dirty log
   *   is slower, and complete;
   * - `CPU_FEATURE_UNAVAILABLE`: this host does not support requested CPU features;
   * - `CPU_MODEL_UNAVAILABLE`: the CPU model is not supported; the guest sees the host's CPU;
   * - `CPU_PM_UNSUPPORTED`: the host does not support that the guest idles without exits;
   * - `EMULATION_FAILURE`: KVM could not emulate an instruction of user-mode code, and the guest
   *   continued. The first 8 failures of a machine are reported in full. Further failures are
   *   reported as a number, at most once a second, and when the machine stops;
   * - `DEVICE_NEEDS_RESET`: the guest's driver violated the protocol of a virtio device. The device
   *   does nothing until the driver resets it. Emitted once for each device;
   * - `DEVICE_HOST_ERROR`: the host failed to serve a virtio device (no memory, no descriptor, a
   *   bug of kvm-accel). The device does nothing until the guest's driver resets it. The message
   *   names the failed operation, its error and a remedy. Emitted once for each device;
   * - `DISK_FORMAT_DETECTED`: the format of a writable disk image was not stated, and was detected as
   *   raw. Guest writes that would change the detected format fail;
   * - `DISK_FEATURES_CLEARED`: opening a qcow2 image for writing has made its persistent bitmaps
   *   inconsistent, or has cleared other autoclear features. The message names the bitmaps;
   * - `VCPU_NOT_STOPPED`: a pause or a reset has waited for a vCPU for 5 seconds, and continues to
   *   wait. The message names the vCPU;
   * - `DEVICE_NOT_STILL`: the guest stopped by itself, and a device still had I/O in flight in the
   *   host's kernel after 10 seconds;
   * - `OUTPUT_LOST`: the host could not write output of a port (a full disk, a reader that has gone).
   *   The message has the port, the target, the number of bytes and the error. The first loss of a
   *   port is reported at once. Further losses are reported as a number, at most once a second, and
   *   when the machine ends. Later output is tried again, unless the reader has gone;
   * - `STDOUT_CLOSED`: the same for standard output whose reader has gone.
   */
  readonly code: WarningCode
  /** The message: one line, followed by the register dump if there is one. */
  readonly message: string
}
