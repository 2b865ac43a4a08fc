// All options of a machine, one entry for each.

import type { OptionsOf } from '../../schema/entry.js'
import { boolean, integer } from '../../schema/scalars.js'
import { accelEntry } from './accel.js'
import { boardMembers, type BoardOptions } from './board.js'
import { bootMembers, type BootOptions } from './boot.js'
import { cpuEntry } from './cpu/cpu.js'
import { msrFilterEntry } from './cpu/msr-filter.js'
import { topologyMembers, type VcpuOptions } from './cpu/topology.js'
import { memoryEntry } from './memory.js'
import { runMembers, type RunOptions } from './run.js'
import { serialMembers, type SerialOptions } from './serial-ports.js'
import { balloonEntry } from './virtio/balloon.js'
import { consolesEntry } from './virtio/consoles.js'
import { disksEntry } from './virtio/disks.js'
import { networksEntry } from './virtio/networks.js'
import { rngEntry } from './virtio/rng.js'
import { vsockEntry } from './virtio/vsock.js'

const otherMembers = {
  /**
   * The accelerator and its properties. QEMU's option text (`'kvm,notify-vmexit=internal-error'`),
   * an object, or a list of either. A list is tried in order, as several `-accel` are.
   *
   * @default 'kvm'
   */
  accel: accelEntry,
  /**
   * The size of guest memory, at least 1 MiB and a multiple of 4 KiB. Bytes, or a size as `-m`
   * takes it (`'64M'`, `'1.5G'`, `'128'` in MiB). {@link MemoryOptions} also select the backend.
   *
   * @default '128M'
   */
  memory: memoryEntry,
  /**
   * Includes guest memory in core dumps of this process, which any crash may write. False keeps the
   * guest's secrets out of them.
   *
   * @default true
   */
  dumpGuestCore: boolean({ default: true, cli: '-machine dump-guest-core' }),
  /**
   * The guest's CPU: a model, features and properties. A text as `-cpu` takes it (`'host,-avx2'`,
   * `'Haswell-noTSX,enforce'`), or an object.
   *
   * @default 'host'
   */
  cpu: cpuEntry,
  /**
   * Lets an idle guest keep a physical CPU: HLT, PAUSE and similar instructions do not cause exits,
   * if the host supports that.
   *
   * @default false
   */
  cpuPm: boolean({ default: false, cli: '-overcommit cpu-pm' }),
  /**
   * MSRs whose accesses are handled outside the kernel: at most 16 ranges that do not overlap.
   *
   * @default none
   */
  msrFilter: msrFilterEntry,
  /**
   * The rate of bus locks above which the guest is slowed down, in bus locks a second over all
   * vCPUs, 0 to 2^53 - 1. Each bus lock emits the event `bus-lock`. 0 disables the detection of bus
   * locks.
   *
   * @default 0
   */
  busLockRatelimit: integer({
    min: 0,
    max: Number.MAX_SAFE_INTEGER,
    unit: 'bus locks',
    default: 0,
    cli: '-machine bus-lock-ratelimit',
    argument: {
      takes: 'N',
      read: word => (/^[0-9]+$/.test(word) && Number.isSafeInteger(Number(word)) ? Number(word) : undefined),
    },
  }),
  /**
   * Disks, a virtio-blk device for each. Linux names them `/dev/vda` and so on, in this order.
   *
   * @default none
   */
  disks: disksEntry,
  /**
   * Network cards, a virtio-net device for each. Linux names them `eth0` and so on, in this order.
   *
   * @default none
   */
  networks: networksEntry,
  /**
   * Adds `virtio-rng`, which returns random bytes of the host.
   *
   * @default false
   */
  rng: rngEntry,
  /**
   * Adds `virtio-balloon`, with which {@linkcode Machine.balloon} takes memory from the guest and
   * gives it back.
   *
   * @default false
   */
  balloon: balloonEntry,
  /**
   * Adds `virtio-vsock`: sockets between the guest, {@linkcode Machine.vsock} and programs of the
   * host.
   *
   * @default none
   */
  vsock: vsockEntry,
  /**
   * Adds `virtio-console`: terminals and named channels of bytes, for {@linkcode Machine.consoles}. At most 16.
   *
   * @default none
   */
  consoles: consolesEntry,
}

/** The entries of all options. */
export const machineMembers = {
  ...otherMembers,
  ...topologyMembers,
  ...bootMembers,
  ...serialMembers,
  ...boardMembers,
  ...runMembers,
}

/** The options of {@link Machine.create}. */
export interface MachineOptions
  extends OptionsOf<typeof otherMembers>, VcpuOptions, BootOptions, SerialOptions, BoardOptions, RunOptions {}
