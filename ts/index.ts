export {
  AccelPropertyError,
  AcceleratorError,
  ArgumentError,
  BreakpointError,
  ExpectError,
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
  type ExpectProblem,
  type GuestImageKind,
  type GuestImageProblem,
  type UnavailableReason,
  type VsockProblem,
} from './errors/index.js'
export { embeddedGuests, guestImage, type EmbeddedGuest, type GuestImageOptions } from './machine/guests.js'
export { Machine } from './machine/machine.js'
export { run, type RunResult } from './machine/run.js'
export type { CaptureOptions } from './machine/config/capture.js'
export type { Expected, ExpectOptions } from './machine/devices/ports/conversation.js'
export type { MachineAccel, NotifyStatus } from './machine/events/machine-accel.js'
export type {
  DeviceHandlers,
  DeviceIrq,
  DeviceOptions,
  DevicePlace,
  DeviceValue,
  LocalDevice,
  WorkerDevice,
} from './machine/devices/javascript/device.js'
export { DirtyLog, DirtyPages, type DirtyRange, type DirtyRate } from './machine/devices/dirty-log.js'
export { DeviceMemory, DeviceMemoryView } from './machine/devices/javascript/device-memory.js'
export { MachineDevice } from './machine/devices/javascript/machine-device.js'
export { serveDevice, type ServedDevice } from './machine/devices/javascript/serve-device.js'
export type { DeviceErrorEvent, MachineEventMap, StopEvent } from './machine/events/events.js'
export type { Exit } from './machine/events/exit.js'
export type { NotifyDrill, NotifyEvent, NotifyRegisters } from './machine/events/notify-event.js'
export type { DebugExitOptions, LostTickPolicy } from './machine/config/board.js'
export type { InitrdImage, KernelFormat } from './machine/config/boot.js'
export type { HugePageSize, MemoryOptions } from './machine/config/memory.js'
export type { MachineOptions } from './machine/config/machine-options.js'
export type { SerialTarget, SocketTarget } from './machine/config/serial.js'
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
export type { PortStream } from './machine/devices/ports/port-stream.js'
export type { SerialPort } from './machine/devices/ports/serial-port.js'
export type {
  HistogramBucket,
  HistogramStatistic,
  KvmStatistics,
  MachineCounters,
  ScalarStatistic,
  Statistic,
  VcpuStatistics,
  VmStatistics,
} from './machine/events/statistics.js'
export type { BusLockEvent } from './machine/events/bus-lock-event.js'
export type { DiskFormat, DiskOptions } from './machine/config/virtio/disks.js'
export type { DiskThrottleOptions, RateLimits, ThrottleOptions } from './machine/config/virtio/throttle.js'
export type { RtcOptions } from './machine/config/rtc.js'
export type { DebugConsoleOptions } from './machine/config/serial-ports.js'
export type { FwCfgContent, FwCfgFiles } from './machine/config/fw-cfg.js'
export type { Forward, NetworkBackend, NetworkOptions } from './machine/config/virtio/networks.js'
export type { RngOptions } from './machine/config/virtio/rng.js'
export type { BalloonOptions } from './machine/config/virtio/balloon.js'
export { Balloon, type BalloonEvents } from './machine/devices/balloon/balloon.js'
export type { BalloonStatistics } from './machine/devices/balloon/balloon-statistics.js'
export type { ConsoleOptions } from './machine/config/virtio/consoles.js'
export type { VsockOptions } from './machine/config/virtio/vsock.js'
export { Vsock, type VsockConnectOptions, type VsockListenOptions } from './machine/devices/vsock/vsock.js'
export { VsockServer, type VsockServerEvents } from './machine/devices/vsock/vsock-server.js'
export { ConsolePort, type TerminalSize } from './machine/devices/ports/console-port.js'
export { VsockStream } from './machine/devices/vsock/vsock-stream.js'
export type { CpuOptions } from './machine/config/cpu/cpu.js'
export type { MsrRead, MsrRule, MsrValue, MsrWrite } from './machine/config/cpu/msr-filter.js'
export type { TopologyOptions } from './machine/config/cpu/topology.js'
export type { MachineWarning, WarningCode } from './errors/operation/warning.js'
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
