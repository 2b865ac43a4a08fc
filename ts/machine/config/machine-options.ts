import type { CpuOptions, MsrRule, TopologyOptions } from './cpu/cpu-options.js'
import type { DiskOptions } from './virtio/disks.js'
import type { SerialTarget } from './serial.js'
import type { FwCfgFiles } from './fw-cfg.js'
import type { RtcOptions } from './rtc.js'
import type { DebugConsoleOptions } from './serial-ports.js'
import type { NetworkOptions } from './virtio/networks.js'
import type { RngOptions } from './virtio/rng.js'
import type { ConsoleOptions } from './virtio/consoles.js'
import type { VsockOptions } from './virtio/vsock.js'
import type { BalloonOptions } from './virtio/balloon.js'
import type { AccelInput } from '../../properties/types.js'

/** How a kernel image is loaded and entered. */
export type KernelFormat = 'auto' | 'flat' | 'linux' | 'multiboot' | 'pvh'

/** One initial RAM disk, or one multiboot module. */
export interface InitrdImage {
  /** Path of a file, or its bytes. */
  readonly image: string | Uint8Array
  /**
   * The command line of a multiboot module. Other formats have no place for it.
   *
   * @default the path, as QEMU has it; empty for bytes
   */
  readonly cmdline?: string
}

/** The port that ends a machine with a status, QEMU's `isa-debug-exit`. */
export interface DebugExitOptions {
  /**
   * First port, 0 to 0xffff.
   *
   * @default 0xf4
   */
  readonly iobase?: number
  /**
   * Number of ports, 1 to 8.
   *
   * @default 4
   */
  readonly iosize?: number
}

/** The size of a huge page of x86. */
export type HugePageSize = '2M' | '1G'

/** Guest memory and where it comes from. */
export interface MemoryOptions {
  /** Bytes, or a size as `-m` takes it. At least 1 MiB and a multiple of 4 KiB, or of the huge pages. */
  readonly size: number | string
  /**
   * `anonymous` is this process's own memory, `memfd` a file without a name that others may map through
   * `/proc/PID/fd` and that cannot be truncated, `file` the file at `path`.
   *
   * @default 'file' with `path`, else 'anonymous'
   */
  readonly backend?: 'anonymous' | 'memfd' | 'file'
  /**
   * The file of the backend `file`: one that is as long as memory, or longer; an empty or a missing one, which gets memory's size; or a
   * directory for an unnamed file, on hugetlbfs for huge pages.
   */
  readonly path?: string
  /**
   * What the guest writes reaches the file, and whoever else maps it.
   *
   * @default true for 'memfd', else false
   */
  readonly share?: boolean
  /**
   * The host provides all of it before the guest starts, or {@link Machine.create} fails.
   *
   * @default false
   */
  readonly prealloc?: boolean
  /**
   * Reserves huge pages of the host, of 2 MiB with `true`. Not for the backend `file`.
   *
   * @default false
   */
  readonly hugePages?: boolean | HugePageSize
}

/** What becomes of timer ticks that the guest is too late for. */
export type LostTickPolicy = 'delay' | 'discard'

/** What {@link Machine.create} makes a machine from. */
export interface MachineOptions {
  /**
   * The accelerator and its properties: QEMU's option text (`'kvm,notify-vmexit=internal-error'`), an object, or a
   * list of either. A list is tried in order, as several `-accel` are.
   *
   * @default 'kvm'
   */
  readonly accel?: AccelInput
  /**
   * Guest memory: bytes, or a size as `-m` takes it (`'64M'`, `'1.5G'`, `'128'` in MiB). At least 1 MiB and a multiple
   * of 4 KiB. With {@link MemoryOptions}, where it comes from as well.
   *
   * @default '128M'
   */
  readonly memory?: number | string | MemoryOptions
  /**
   * Number of vCPUs, 1 to 255.
   *
   * @default the product of `topology`, else 1
   */
  readonly cpus?: number
  /**
   * The guest's CPU, as `-cpu` takes it (`'host,-avx2'`, `'Haswell-noTSX,enforce'`), or an object.
   *
   * @default 'host'
   */
  readonly cpu?: string | CpuOptions
  /**
   * How the vCPUs are arranged, as `-smp` takes it.
   *
   * @default one socket with a core for each vCPU
   */
  readonly topology?: TopologyOptions
  /**
   * The guest keeps a physical CPU while it idles, as `-overcommit cpu-pm=on`: HLT, PAUSE and the like do not leave it where the host
   * offers that.
   *
   * @default false
   */
  readonly cpuPm?: boolean
  /**
   * MSRs that are answered outside the kernel, at most 16 ranges that do not overlap.
   *
   * @default none
   */
  readonly msrFilter?: readonly MsrRule[]
  /**
   * Bus locks in a second, over all vCPUs, before the guest is slowed down, as `-machine bus-lock-ratelimit=`; each one is told as event
   * `bus-lock`. 0 leaves bus locks alone. Whole numbers up to 2^53 - 1.
   *
   * @default 0
   */
  readonly busLockRatelimit?: number
  /** The kernel: path of a file, or its bytes. Without it, there is {@linkcode firmware}. */
  readonly kernel?: string | Uint8Array
  /**
   * Firmware, as `-bios`: path of an image, or its bytes, a multiple of 64 KiB up to 8 MiB. It ends at 4 GiB, where a guest cannot write it.
   * Without a kernel the first vCPU starts there, at the reset vector, and the image's last 256 KiB are in RAM below 1 MiB, too; with one, which is
   * entered directly, nobody starts the firmware.
   *
   * @default none
   */
  readonly firmware?: string | Uint8Array
  /**
   * The kernel's format. `auto` looks for magic numbers and refuses an image without one: a multiboot-1 header, a bzImage, a PVH note; ELF64
   * without the note is `linux`, too. `linux` enters a bzImage or a vmlinux by Linux's 64-bit boot protocol. `flat` must be asked for: loaded
   * at 0x1000 and entered there in real mode.
   *
   * @default 'auto'
   */
  readonly kernelFormat?: KernelFormat
  /** The initial RAM disk: path of a file, or its bytes; a list for multiboot modules. */
  readonly initrd?: string | Uint8Array | readonly InitrdImage[]
  /**
   * The kernel's command line.
   *
   * @default ''
   */
  readonly append?: string
  /**
   * Tells Linux of its virtio devices on the command line, by `virtio_mmio.device=`: for kernels that do not read ACPI's tables. QEMU's
   * `-machine auto-kernel-cmdline=`.
   *
   * @default true
   */
  readonly autoKernelCmdline?: boolean
  /**
   * Where COM1 leads. `stdio` is this process's standard output, `stream` keeps what the guest writes for readers of
   * `machine.serial`, `{ file }` truncates and writes a file, `{ socket }` is a socket that listens or
   * connects, `pty` a new pseudo-terminal. Input is what is written
   * to `machine.serial`, and what a socket's client or a terminal sends.
   *
   * @default 'null'
   */
  readonly serial?: SerialTarget
  /**
   * Where COM1 to COM4 lead, in place of `serial`; `null` for one that is not there. Each is a stream in {@linkcode Machine.serials};
   * without COM1, {@linkcode Machine.serial} is empty, and what is written to it is lost.
   *
   * @default COM1 alone
   */
  readonly serials?: readonly (SerialTarget | null)[]
  /**
   * Adds a port whose bytes go somewhere, as `-debugcon` and `isa-debugcon`: firmware writes its messages there.
   *
   * @default none
   */
  readonly debugConsole?: DebugConsoleOptions
  /**
   * The two interrupt controllers 8259, as `-M pic=`. Those in the kernel (`kernel-irqchip=on`) are there in any case, as under QEMU; with
   * `kernel-irqchip=off` there is nothing else that could interrupt, and false is refused.
   *
   * @default true
   */
  readonly pic?: boolean
  /**
   * The timer 8254, as `-M pit=`.
   *
   * @default true
   */
  readonly pit?: boolean
  /** The CMOS clock, as `-rtc`. */
  readonly rtc?: RtcOptions
  /**
   * Adds `isa-debug-exit`: a guest that writes V there ends its machine with status `(V << 1) | 1`.
   *
   * @default false
   */
  readonly debugExit?: boolean | DebugExitOptions
  /**
   * Disks, QEMU's `-drive`.
   *
   * @default none
   */
  readonly disks?: readonly DiskOptions[]
  /**
   * Files of fw_cfg, as `-fw_cfg`: `opt/NAME` is the user's, QEMU and firmware have the others. At most 55 characters.
   *
   * @default none but the machine's own
   */
  readonly fwCfg?: FwCfgFiles
  /**
   * Adds `pc-testdev`, which kvm-unit-tests use: latches at ports 0xe0 and 0xe8, a page to flush at 0xe4, interrupt lines at 0x2000, and
   * memory that is not RAM at 0xff000000.
   *
   * @default false
   */
  readonly testDevices?: boolean
  /**
   * Adds `pvpanic`, at port 0x505 and in ACPI's tables: a guest's kernel that panics ends the machine with reason `guest-panicked`, or stops it in the run state
   * of that name under `noShutdown`.
   *
   * @default false
   */
  readonly pvpanic?: boolean
  /**
   * The machine's generation, QEMU's `vmgenid`: a UUID, or `'auto'` for a random one. A guest that finds another one than before knows that it was copied, and
   * gets new random numbers. It does not change while a machine lives. ACPI tells where it is.
   *
   * @default none
   */
  readonly vmGenerationId?: string
  /**
   * Network cards; Linux has them as `eth0` and so on, in this order.
   *
   * @default none
   */
  readonly networks?: readonly NetworkOptions[]
  /**
   * Adds `virtio-rng`: random bytes of the host.
   *
   * @default false
   */
  readonly rng?: boolean | RngOptions
  /**
   * Adds `virtio-balloon`: memory that the guest does without, by {@linkcode Machine.balloon}.
   *
   * @default false
   */
  readonly balloon?: boolean | BalloonOptions
  /**
   * Adds `virtio-vsock`: sockets between guest and host, for {@linkcode Machine.vsock} and for programs of the host.
   *
   * @default none
   */
  readonly vsock?: VsockOptions
  /**
   * Adds `virtio-console`: terminals and named channels of bytes, for {@linkcode Machine.consoles}. At most 16.
   *
   * @default none
   */
  readonly consoles?: readonly ConsoleOptions[]
  /**
   * A guest's reset ends the machine, as `-no-reboot`.
   *
   * @default false
   */
  readonly noReboot?: boolean
  /**
   * A guest's shutdown stops the machine in run state `shutdown` and does not end it, as `-no-shutdown`.
   *
   * @default false
   */
  readonly noShutdown?: boolean
  /**
   * Whether the guest finds ACPI's tables, as `-M acpi=` and `-no-acpi`. It can power off and reset either way: see docs/boot.md.
   *
   * @default true
   */
  readonly acpi?: boolean
  /**
   * What becomes of timer ticks that the guest is too late for, `lost_tick_policy` of QEMU's `kvm-pit`: `delay` delivers them late,
   * so that a guest that counts ticks keeps its time; `discard` drops them. For `kernel-irqchip=on`, whose PIT is in the kernel.
   *
   * @default 'delay'
   */
  readonly lostTickPolicy?: LostTickPolicy
  /**
   * Trace events to record from the first ioctl on, as globs such as `'kvm_*'`; read them from {@linkcode Machine.startTrace}.
   *
   * @default none
   */
  readonly trace?: string | readonly string[]
  /** Ends the machine when it is aborted, as {@link Machine.stop}. */
  readonly signal?: AbortSignal
  /** A name for messages and threads. */
  readonly name?: string
}
