export {
  AccelPropertyError,
  AcceleratorError,
  BreakpointError,
  GuestImageError,
  GuestMemoryError,
  KvmAccelError,
  KvmCapabilityError,
  KvmClosedError,
  KvmIoctlError,
  KvmUnavailableError,
  MachineConfigError,
  MachineStateError,
  NotifyUnsupportedError,
  OptionError,
  VsockError,
  type BreakpointProblem,
  type ErrorDetails,
  type GuestImageKind,
  type GuestImageProblem,
  type UnavailableReason,
  type VsockProblem,
} from './errors/index.js'
export { guestImage, type GuestImageOptions } from './guests.js'
export { Machine } from './machine/machine.js'
export type { MachineAccel, NotifyStatus } from './machine/events/machine-accel.js'
export type {
  DeviceHandlers,
  DeviceOptions,
  DevicePlace,
  DeviceValue,
  LocalDevice,
  WorkerDevice,
} from './machine/devices/javascript/device.js'
export { DirtyLog, DirtyPages, type DirtyRange, type DirtyRate } from './machine/devices/dirty-log.js'
export { serveDevice } from './machine/devices/javascript/serve-device.js'
export type { MachineEventMap, StopEvent } from './machine/events/events.js'
export type { Exit } from './machine/events/exit.js'
export type { NotifyDrill, NotifyEvent, NotifyRegisters } from './machine/events/notify-event.js'
export type {
  DebugExitOptions,
  HugePageSize,
  InitrdImage,
  KernelFormat,
  LostTickPolicy,
  MachineOptions,
  MemoryOptions,
} from './machine/options.js'
export type { SerialTarget, SocketTarget } from './machine/serial/target.js'
export type { RunState } from './errors/operation/run-state.js'
export { Debugger } from './machine/debug/debugger.js'
export type { DebugEvent } from './machine/events/debug-event.js'
export type { Breakpoint, MemoryPlace } from './machine/debug/breakpoint.js'
export { Vcpu } from './machine/debug/vcpu.js'
export type {
  ControlRegisters,
  DebugRegisters,
  DescriptorTable,
  GeneralRegisters,
  MpState,
  NestedState,
  PendingException,
  SegmentRegister,
  VcpuEvents,
  VcpuState,
  VcpuStateChange,
} from './machine/debug/vcpu-state.js'
export type { SerialPort } from './machine/devices/ports/serial-port.js'
export type {
  HistogramBucket,
  HistogramStatistic,
  MachineStatistics,
  MachineStats,
  ScalarStatistic,
  Statistic,
  VcpuStatistics,
  VmStatistics,
} from './machine/events/statistics.js'
export type { BusLockEvent } from './machine/events/bus-lock-event.js'
export type { DiskFormat, DiskOptions } from './machine/virtio/disk.js'
export type { DiskThrottleOptions, RateLimits, ThrottleOptions } from './machine/virtio/throttle.js'
export type { RtcOptions } from './machine/rtc.js'
export type { DebugConsoleOptions } from './machine/serial/ports.js'
export type { FwCfgContent, FwCfgFiles } from './machine/fw-cfg.js'
export type { Forward, NetworkBackend, NetworkOptions } from './machine/virtio/network.js'
export type { RngOptions } from './machine/virtio/rng.js'
export type { BalloonOptions } from './machine/virtio/balloon.js'
export { Balloon, type BalloonEvents } from './machine/devices/balloon/balloon.js'
export type { BalloonStatistics } from './machine/devices/balloon/balloon-statistics.js'
export type { ConsoleOptions } from './machine/virtio/console.js'
export type { VsockOptions } from './machine/virtio/vsock.js'
export { Vsock, type VsockConnectOptions, type VsockListenOptions } from './machine/devices/vsock/vsock.js'
export { VsockServer, type VsockServerEvents } from './machine/devices/vsock/vsock-server.js'
export { ConsolePort, type TerminalSize } from './machine/devices/ports/console-port.js'
export { VsockStream } from './machine/devices/vsock/vsock-stream.js'
export type { CpuOptions, MsrRead, MsrRule, MsrValue, MsrWrite, TopologyOptions } from './machine/cpu-options.js'
export type { MachineWarning } from './errors/operation/warning.js'
export {
  traceEvents,
  type TraceEventName,
  type TraceOptions,
  type TraceRecord,
  type TraceRecordOf,
  type TraceStream,
} from './trace/index.js'
export {
  resolveAccelerators,
  type AccelInput,
  type AccelOptions,
  type AccelProperties,
  type KernelIrqchip,
  type NotifyBudget,
  type NotifyPolicy,
  type ResolvedAccelerators,
} from './properties/index.js'
