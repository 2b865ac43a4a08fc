import { OptionError } from '../../errors/options/option-error.js'
import { didYouMean } from '../../errors/suggest.js'
import { parseOptionText, type OptionPair } from '../../properties/option-text.js'
import { diskMembers } from '../../machine/config/virtio/disks.js'
import { diskThrottleMembers, type DiskThrottleOptions, type RateLimits } from '../../machine/config/virtio/throttle.js'
import type { Argument } from '../../schema/argument.js'
import type { DriveDraft } from '../draft/board-draft.js'
import {
  id,
  number,
  onOff,
  oneOf,
  only,
  optionPairs,
  readParameters,
  required,
  text,
  type Parameter,
} from '../parameters/parameters.js'
import type { RunDraft } from '../draft/run-draft.js'
import type { RunOption } from '../draft/run-option.js'
import { schemaOptions, schemaParameters } from '../parameters/schema-options.js'
import { addUnique } from '../parameters/unique.js'

/** The options of the back ends of disks. */
export const storageOptions: readonly RunOption[] = [
  {
    name: '-drive',
    argument: 'file=PATH[,format=raw|qcow2][,if=none|virtio][,id=ID][,readonly=on|off][,throttling.LIMIT=N…]',
    repeated: 'adds',
    about: 'An image. if=virtio makes it a disk; if=none is for -device virtio-blk-device.',
    differs:
      "if=virtio is a virtio-mmio disk. Without -M microvm the default is if=ide, which is refused. Without format= the format is detected: raw or qcow2. An image of another known format is refused, and guest writes that would change the detected format fail. cache=none uses the host's page cache, and cache=unsafe flushes. Refused: cache=writethrough, cache=directsync, snapshot=on, media=cdrom, throttling.group=, and werror= and rerror= other than report.",
    read: readDrive,
  },
  {
    name: '-blockdev',
    argument: 'driver=file|raw|qcow2,node-name=ID,filename=PATH|file=ID|file.KEY=VALUE…',
    repeated: 'adds',
    about: 'A block node, as key=value with dotted keys or as JSON.',
    differs: 'No other drivers. file= of raw and qcow2 names an earlier node; file.KEY= defines a file node inside it.',
    read: readBlockdev,
  },
]

/** A limit: its direction, and its key and its reader in the schema. */
interface Limit {
  readonly of: 'total' | 'reads' | 'writes' | 'size'
  readonly key: string
  readonly argument: Argument<unknown>
}

/** QEMU's names of the directions: long and short. */
const directions = { total: ['-total', ''], reads: ['-read', '_rd'], writes: ['-write', '_wr'] } as const

/** The limits by QEMU's names, `throttling.…`, and by the older names of `-drive`. */
const limits: ReadonlyMap<string, Limit> = new Map(
  Object.entries(diskThrottleMembers).flatMap(([key, { cli = '', argument }]): [string, Limit][] => {
    const [, name = '', rest] = /^-drive throttling\.(bps|iops)-total(\S*)$/.exec(cli) ?? []
    if (argument === undefined) return []
    if (rest === undefined) {
      const long = cli.replace('-drive ', '')
      return [long, long.replace('throttling.', '').replaceAll('-', '_')].map(name => [
        name,
        { of: 'size', key, argument },
      ])
    }
    return Object.entries(directions).flatMap(([of, [long, short]]): [string, Limit][] => {
      const limit = { of: of as keyof typeof directions, key, argument }
      return [
        [`throttling.${name}${long}${rest}`, limit],
        [`${name}${short}${rest.replaceAll('-', '_')}`, limit],
      ]
    })
  }),
)

/** Separates the limits from the other parameters. */
function splitLimits(
  option: string,
  pairs: readonly OptionPair[],
): [rest: OptionPair[], throttle: DiskThrottleOptions] {
  const rest: OptionPair[] = []
  const found: Record<Limit['of'], Record<string, number>> = { total: {}, reads: {}, writes: {}, size: {} }
  for (const { key, value } of pairs) {
    const limit = limits.get(key)
    if (limit === undefined) {
      if (/^(throttling\.)?(bps|iops)/.test(key)) throw noLimit(option, key)
      rest.push({ key, value })
      continue
    }
    const rate = limit.argument.read(value) as number | undefined
    if (rate === undefined) {
      const message = `${option}: ${key}= expects a whole number up to 10^15, and not '${value}'`
      throw new OptionError(message, { option, remedy: `For example '${key}=1048576'.` })
    }
    if (rate > 0) found[limit.of][limit.key] = rate
    else delete found[limit.of][limit.key]
  }
  const { total, reads, writes, size }: Record<Limit['of'], DiskThrottleOptions> = found
  if (size.operationSize && ![total, reads, writes].some(({ operationsPerSecond }) => operationsPerSecond)) {
    const message = `${option}: throttling.iops-size= needs throttling.iops-total=`
    throw new OptionError(message, {
      option,
      remedy: 'Give throttling.iops-total= too, or leave out throttling.iops-size=.',
    })
  }
  const given = (limits: RateLimits) => Object.keys(limits).length > 0
  return [rest, { ...total, ...(given(reads) && { reads }), ...(given(writes) && { writes }), ...size }]
}

function noLimit(option: string, key: string): OptionError {
  return new OptionError(`${option}: unknown parameter '${key}'.${didYouMean(key, limits.keys())}`, {
    option,
    remedy:
      'Use throttling.bps-total=, bps-read=, bps-write= and the same with iops; each also with -max= and -max-length=.',
  })
}

const noFlashRemedy = "Boot a kernel with '-kernel', or SeaBIOS with '-bios bios-microvm.bin'."

const diskParameters = schemaParameters('DiskOptions', diskMembers, '-drive')
const path = text('PATH')

/** The parameters of QEMU's `file` block driver. Most of them have no effect here. */
const fileParameters = {
  filename: path,
  aio: oneOf('threads', 'native', 'io_uring'),
  locking: only('auto|on', 'images are locked'),
  'read-only': onOff,
  'auto-read-only': onOff,
  discard: diskMembers.discard.argument as Parameter<boolean>,
  'detect-zeroes': only('off', 'written data is not searched for zeroes'),
  'cache.direct': onOff,
  'cache.no-flush': onOff,
}

const errorPolicy = only('report|auto', 'errors are reported to the guest')

const driveParameters = {
  ...diskParameters,
  if: oneOf('none', 'virtio', 'ide', 'scsi', 'floppy', 'pflash', 'sd', 'mtd', 'xen'),
  id,
  index: number(0, 1023),
  media: only('disk', 'there are no CD-ROM drives'),
  'read-only': onOff,
  snapshot: only('off', 'guest writes go to the image; use a qcow2 overlay'),
  cache: only('writeback|none|unsafe', 'the guest decides when its writes are flushed'),
  'cache.direct': onOff,
  'cache.no-flush': onOff,
  'cache.writeback': only('on', 'the guest decides when its writes are flushed'),
  aio: fileParameters.aio,
  'detect-zeroes': fileParameters['detect-zeroes'],
  'copy-on-read': only('off', 'data of a backing image is not copied'),
  werror: errorPolicy,
  rerror: errorPolicy,
}

function readDrive(draft: RunDraft, argument: string): void {
  const subject = { option: '-drive' }
  const [pairs, throttle] = splitLimits('-drive', parseOptionText(argument, undefined, Object.keys(driveParameters)))
  const given = readParameters(subject, pairs, driveParameters)
  const options = schemaOptions<DriveDraft>(diskMembers, given, '-drive')
  const drive: DriveDraft = {
    ...(given['read-only'] !== undefined && { readOnly: given['read-only'] }),
    ...options,
    path: required(subject, 'file', options.path, '-drive file=disk.img,format=raw,if=virtio'),
    ...(Object.keys(throttle).length > 0 && { throttle }),
  }
  const bus = given.if ?? 'none'
  if (bus !== 'none' && bus !== 'virtio') throw noBus(`-drive does not have 'if=${bus}'`, bus)
  const name = given.id ?? `${bus}${draft.drives.size}`
  addUnique('-drive', draft.drives, name, drive)
  if (bus === 'virtio') {
    draft.virtioDrives.push(board => {
      board.devices.disks.push({ ...board.drive(subject, name), id: name })
    })
  }
  if (given.if === undefined) {
    // QEMU's default depends on the machine's type, which a later -machine may set.
    draft.virtioDrives.push(() => {
      if (draft.machine.get('type') !== 'microvm') throw noBus('-drive without if= is an IDE disk')
    })
  }
}

function noBus(what: string, bus?: string): OptionError {
  if (bus === 'pflash') {
    const message = `${what}: there is no flash, and UEFI firmware (OVMF) also needs PCI, which the board does not have`
    return new OptionError(message, { option: '-drive', remedy: noFlashRemedy })
  }
  const remedy = "Use 'if=virtio', or 'if=none,id=ID' with '-device virtio-blk-device,drive=ID'."
  return new OptionError(`${what}, and the board has virtio disks`, { option: '-drive', remedy })
}

const blockParameters = {
  driver: oneOf('file', 'raw', 'qcow2'),
  'node-name': id,
  ...fileParameters,
  file: id,
  'file.driver': only('file', 'images are files'),
  ...(Object.fromEntries(Object.entries(fileParameters).map(([key, parameter]) => [`file.${key}`, parameter])) as {
    readonly [K in keyof typeof fileParameters as `file.${K}`]: (typeof fileParameters)[K]
  }),
  'file.node-name': id,
}

function readBlockdev(draft: RunDraft, argument: string): void {
  const option = '-blockdev'
  const subject = { option }
  const given = readParameters(subject, optionPairs(option, argument, 'driver', blockParameters), blockParameters)
  const example = '-blockdev driver=file,node-name=disk0,filename=disk.img'
  const driver = required(subject, 'driver', given.driver, example)
  const name = required(subject, 'node-name', given['node-name'], example)
  const readOnly = given['read-only'] ?? false
  const unmap = given.discard ?? false
  if (driver === 'file') {
    if (given.file !== undefined || given['file.filename'] !== undefined) {
      const remedy = `For example '${example}'.`
      throw new OptionError('-blockdev: driver file expects filename=, not file=', { option, remedy })
    }
    const path = required(subject, 'filename', given.filename, example)
    addUnique(option, draft.drives, name, { path, format: 'raw', readOnly, discard: unmap })
    return
  }
  const over = `-blockdev driver=${driver},node-name=disk0,file.driver=file,file.filename=disk.img`
  if (given.filename !== undefined) {
    const message = `-blockdev: driver ${driver} expects file= or file.filename=, not filename=`
    throw new OptionError(message, { option, remedy: `For example '${over}'.` })
  }
  const lower = given.file === undefined ? undefined : draft.drives.get(given.file)
  if (given.file !== undefined && (lower === undefined || draft.lowerNodes.has(given.file))) {
    const message = lower
      ? `-blockdev: node '${given.file}' is already in use`
      : `-blockdev: unknown node '${given.file}'.${didYouMean(given.file, draft.drives.keys())}`
    throw new OptionError(message, { option, remedy: 'Define one file node for each image, before the image.' })
  }
  if (given.file !== undefined) draft.lowerNodes.add(given.file)
  const drive: DriveDraft = {
    path: lower?.path ?? required(subject, 'file.filename', given['file.filename'], over),
    format: driver,
    readOnly: readOnly || (lower?.readOnly ?? given['file.read-only'] ?? false),
    discard: unmap && (lower?.discard ?? given['file.discard'] ?? false),
  }
  addUnique(option, draft.drives, name, drive)
}
