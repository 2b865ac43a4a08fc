// The number of vCPUs and their arrangement, QEMU's -smp.

import { object, optional } from '../../../schema/compound.js'
import type { Complete, Entry, NormalOf, OptionsOf } from '../../../schema/entry.js'
import { conflict } from '../../../schema/invalid.js'
import { integer } from '../../../schema/scalars.js'

/** The xAPIC has 8 bits for an id, and 255 is the broadcast. */
export const MAX_CPUS = 255

const level = (cli: string) =>
  integer({ min: 1, max: MAX_CPUS, default: null, defaultText: 'what the other levels leave', cli: `-smp ${cli}` })

const members = {
  /**
   * Packages, 1 to 255.
   *
   * @default what the other levels leave
   */
  sockets: level('sockets'),
  /**
   * Dies in a package, 1 to 255.
   *
   * @default 1
   */
  dies: integer({ min: 1, max: MAX_CPUS, default: 1, cli: '-smp dies' }),
  /**
   * Cores in a die, 1 to 255.
   *
   * @default what the other levels leave
   */
  cores: level('cores'),
  /**
   * Threads in a core, 1 to 255.
   *
   * @default what the other levels leave
   */
  threads: level('threads'),
}

/**
 * The arrangement of the vCPUs. Absent levels are filled in as in QEMU: cores first, then sockets,
 * then threads.
 */
export interface TopologyOptions extends OptionsOf<typeof members> {}

type Levels = NormalOf<typeof members>

const topologyObject: Entry<TopologyOptions, Levels, 'required'> = object('TopologyOptions', members)

export const topologyMembers = {
  /**
   * The number of vCPUs, 1 to 255.
   *
   * @default the product of `topology`, else 1
   */
  cpus: integer({
    min: 1,
    max: MAX_CPUS,
    default: null,
    defaultText: 'the product of `topology`, else 1',
    cli: '-smp cpus',
  }),
  /**
   * The arrangement of the vCPUs in sockets, dies, cores and threads.
   *
   * @default one socket with a core for each vCPU
   */
  topology: optional(topologyObject, { defaultText: 'one socket with a core for each vCPU', cli: '-smp' }),
}

/** The number and the arrangement of the vCPUs. */
export interface VcpuOptions extends OptionsOf<typeof topologyMembers> {}

/** The normal form of `cpus` and `topology`. */
export interface NormalTopology {
  readonly cpus: number
  readonly topology: Complete<TopologyOptions>
}

/** Fills in the absent levels as QEMU does: cores first, then sockets, then threads. */
export function completeTopology(cpus: number | undefined, given: TopologyOptions): Complete<TopologyOptions> {
  const { dies = 1 } = given
  let { sockets, cores, threads } = given
  const all = cpus ?? (sockets ?? 1) * dies * (cores ?? 1) * (threads ?? 1)
  const rest = (...known: number[]) => Math.floor(all / known.reduce((product, count) => product * count, 1))
  if (cores === undefined) {
    sockets ??= 1
    threads ??= 1
    cores = rest(sockets, dies, threads)
  } else if (sockets === undefined) {
    threads ??= 1
    sockets = rest(dies, cores, threads)
  }
  threads ??= rest(sockets, dies, cores)
  return { sockets, dies, cores, threads }
}

/** Completes the topology, and checks that it matches the number of vCPUs. */
export function normalTopology({ cpus, topology }: NormalOf<typeof topologyMembers>): NormalTopology {
  const given: TopologyOptions = topologyObject.write(topology ?? topologyObject.read({}, 'topology')) ?? {}
  const complete = completeTopology(cpus ?? (topology ? undefined : 1), given)
  const product = complete.sockets * complete.dies * complete.cores * complete.threads
  const positive = Object.values(complete).every(count => count >= 1)
  if (!positive || product > MAX_CPUS || (cpus ?? product) !== product) {
    const text = Object.entries(complete).map(([level, count]) => `${level} ${count}`)
    throw conflict(
      'topology',
      `${text.join(', ')} does not make ${cpus ?? `1 to ${MAX_CPUS}`} vCPUs`,
      "Omit 'topology', or give levels whose product is the number of vCPUs.",
    )
  }
  return { cpus: product, topology: complete }
}
