import { OptionError } from '../../errors/options/option-error.js'
import type { Board } from '../draft/board.js'
import { number, only, required, id as idOf, type Subject } from '../parameters/parameters.js'
import { balloonMembers, type BalloonOptions } from '../../machine/config/virtio/balloon.js'
import { consoleMembers, type ConsoleOptions } from '../../machine/config/virtio/consoles.js'
import { diskMembers, type DiskOptions } from '../../machine/config/virtio/disks.js'
import { networkMembers, type NetworkOptions } from '../../machine/config/virtio/networks.js'
import { rngMembers, type RngOptions } from '../../machine/config/virtio/rng.js'
import { vsockMembers, type VsockOptions } from '../../machine/config/virtio/vsock.js'
import { optionSentences } from '../parameters/option-sentences.js'
import { schemaOptions, schemaParameters } from '../parameters/schema-options.js'
import { device, virtioParameters, type DeviceModel } from './device-model.js'

/** The virtio devices except the console. */
export const virtioDevices: readonly DeviceModel[] = [
  device(
    {
      name: 'virtio-blk-device',
      about: optionSentences['MachineOptions.disks'],
      differs:
        'One queue. Blocks of 512 bytes. Errors are reported to the guest (werror=report); QEMU pauses the guest when the disk of the host is full.',
      parameters: {
        drive: idOf,
        ...schemaParameters('DiskOptions', diskMembers),
        discard: only('on', 'it is always offered; discard= of -drive decides whether it frees space'),
        'write-zeroes': only('on', 'it is always offered'),
        'config-wce': only('on', 'the guest can switch its write cache off'),
        'write-cache': only('auto|on', 'the guest has a write cache, and flushes it'),
        'num-queues': only('1', 'a disk has one queue'),
        logical_block_size: only('512', 'a block has 512 bytes'),
        physical_block_size: only('512', 'a block has 512 bytes'),
        'share-rw': only('off', 'a writable image has one user'),
        scsi: only('off', 'it takes no SCSI commands'),
        werror: only('report|auto', 'errors are reported to the guest'),
        rerror: only('report|auto', 'errors are reported to the guest'),
        ...virtioParameters,
      },
    },
    (board, { subject, given, id }) => {
      const name = required(subject, 'drive', given.drive, '-device virtio-blk-device,drive=disk0')
      const drive = board.drive(subject, name)
      board.devices.disks.push({
        ...drive,
        id: id ?? name,
        ...schemaOptions<DiskOptions>(diskMembers, given),
      })
    },
  ),
  device(
    {
      name: 'virtio-net-device',
      about: optionSentences['MachineOptions.networks'],
      differs: 'One pair of queues. Needs netdev=. Its back end determines the offloads.',
      parameters: {
        netdev: idOf,
        ...schemaParameters('NetworkOptions', networkMembers),
        mq: only('off', 'a card has one pair of queues'),
        rss: only('off', 'a card has one pair of queues'),
        failover: only('off', 'there is no second card for failover'),
        ...virtioParameters,
      },
    },
    (board, { subject, given, id }) => {
      const name = required(subject, 'netdev', given.netdev, '-device virtio-net-device,netdev=net0')
      board.devices.networks.push({
        backend: board.network(subject, name),
        ...(id !== undefined && { id }),
        ...schemaOptions<NetworkOptions>(networkMembers, given),
      })
    },
  ),
  device(
    {
      name: 'virtio-rng-device',
      about: optionSentences['MachineOptions.rng'],
      differs: 'Without rng= the source is /dev/urandom.',
      parameters: { rng: idOf, ...schemaParameters('RngOptions', rngMembers), ...virtioParameters },
    },
    (board, { subject, given }) => {
      board.set(subject, 'rng', {
        ...(given.rng !== undefined && { source: board.entropy(subject, given.rng) }),
        ...schemaOptions<RngOptions>(rngMembers, given),
      })
    },
  ),
  ...['vhost-vsock-device', 'virtio-vsock-device'].map(name =>
    device(
      {
        name,
        about: optionSentences['MachineOptions.vsock'],
        differs:
          name === 'vhost-vsock-device'
            ? "The host's end consists of Unix sockets at path=, as in Firecracker, and of Node.js streams. It is not AF_VSOCK of the host."
            : 'Not in QEMU. The same as vhost-vsock-device.',
        parameters: { ...schemaParameters('VsockOptions', vsockMembers), ...virtioParameters },
      },
      (board, { subject, given }) => {
        const options = schemaOptions<VsockOptions>(vsockMembers, given)
        const cid = required(subject, 'guest-cid', options.cid, `-device ${name},guest-cid=3,path=/tmp/vsock`)
        board.set(subject, 'vsock', { ...options, cid })
      },
    ),
  ),
  device(
    {
      name: 'virtio-balloon-device',
      about: optionSentences['MachineOptions.balloon'],
      differs:
        'machine.balloon sets the size and reads the statistics that guest-stats-polling-interval= requests. free-page-hint=on and page-poison=off are refused.',
      parameters: {
        ...schemaParameters('BalloonOptions', balloonMembers),
        'free-page-hint': only('off', 'it serves live migration'),
        'page-poison': only('on', 'a guest that poisons free pages keeps them'),
        ...virtioParameters,
      },
    },
    (board, { subject, given }) => {
      board.set(subject, 'balloon', schemaOptions<BalloonOptions>(balloonMembers, given))
    },
  ),
]

/** The virtio console and its ports. */
export const consoleDevices: readonly DeviceModel[] = [
  device(
    {
      name: 'virtio-serial-device',
      about: 'The bus of `virtconsole` and `virtserialport`.',
      differs:
        'At most one, with up to 16 ports. A single virtconsole has its size in the configuration space and uses no control messages.',
      parameters: {
        max_ports: number(1, 31),
        'emergency-write': only('off', 'guests write through the queues'),
        ...virtioParameters,
      },
    },
    (board, { subject: { option, what } }) => {
      if (board.hasPortBus) {
        throw new OptionError(`${what} is given twice: a machine has at most one`, { option, remedy: 'Give it once.' })
      }
      board.hasPortBus = true
    },
  ),
  device(
    {
      name: 'virtconsole',
      about: 'A terminal, in Linux `/dev/hvc0` and so on.',
      differs: 'No name=. Connected to a terminal, it reports the size of the terminal to the guest.',
      parameters: { chardev: idOf },
    },
    (board, { subject, given }) => addPort(board, subject, given.chardev),
  ),
  device(
    {
      name: 'virtserialport',
      about: 'A channel of bytes, in Linux `/dev/virtio-ports/NAME`.',
      differs: 'It needs its name=.',
      parameters: { chardev: idOf, ...schemaParameters('ConsoleOptions', consoleMembers) },
    },
    (board, { subject, given }) => {
      const example = '-device virtserialport,chardev=agent,name=org.example.agent'
      const { name } = schemaOptions<ConsoleOptions>(consoleMembers, given)
      addPort(board, subject, given.chardev, required(subject, 'name', name, example))
    },
  ),
]

function addPort(board: Board, subject: Subject, chardev: string | undefined, name?: string): void {
  if (!board.hasPortBus) {
    throw new OptionError(`${subject.what} needs a bus: expected -device virtio-serial-device before it`, {
      option: '-device',
      remedy: "Add '-device virtio-serial-device' before it.",
    })
  }
  board.devices.consoles.push({
    target: chardev === undefined ? 'null' : board.character(subject, chardev),
    ...(name !== undefined && { name }),
  })
}
