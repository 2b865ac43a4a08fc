import {
  readAccel,
  readCpu,
  readDevice,
  readMachine,
  readMemory,
  readName,
  readNone,
  readOvercommit,
  readSerial,
  readSmp,
} from './read-arguments.js'
import { runHelp } from './help.js'
import { readGlobal } from './read-global.js'
import { readStats, readTrace } from './read-reports.js'
import type { RunDraft } from './run-draft.js'
import { versionText } from './version.js'

/** One option of `kvm-accel run`: the single source for parsing, for help and for docs/command-line.md. */
export interface RunOption {
  /** QEMU's name, with one dash. Two dashes mean the same. */
  readonly name: string
  readonly aliases?: readonly string[]
  /** What follows it, as help shows it; absent for a flag. */
  readonly argument?: string
  /** What repeating it does. */
  readonly repeated: 'last wins' | 'adds' | 'no effect' | 'refused'
  /** What it does here, for help. */
  readonly about: string
  /** What QEMU does that we do not, or do otherwise; empty when there is no difference within `argument`. */
  readonly differs: string
  /** Reads the argument (empty for a flag); a returned text is printed instead of running. */
  readonly read: (draft: RunDraft, argument: string) => string | void
}

/** All options, in the order in which help shows them. */
export const runOptions: readonly RunOption[] = [
  {
    name: '-accel',
    argument: 'kvm[,PROPERTY=VALUE…]',
    repeated: 'adds',
    about: 'the accelerator and its properties; the first of several that there is',
    differs: 'Only kvm; other names of QEMU are skipped with a warning when kvm follows. Without -accel: kvm.',
    read: readAccel,
  },
  {
    name: '-enable-kvm',
    repeated: 'no effect',
    about: 'the same as -machine accel=kvm',
    differs: '',
    read: draft => void draft.machine.set('accel', 'kvm'),
  },
  {
    name: '-machine',
    aliases: ['-M'],
    argument: 'microvm|pc[,PROPERTY=VALUE…]',
    repeated: 'adds',
    about: 'a name for the board, accel=A:B, kernel-irqchip=, kvm-shadow-mem=, bus-lock-ratelimit=',
    differs:
      'One board under both names. Of the other properties only those are accepted that describe it; -machine help lists them.',
    read: readMachine,
  },
  {
    name: '-cpu',
    argument: 'host|max|MODEL[,+FEATURE|-FEATURE|FEATURE=on|off…][,PROPERTY=VALUE…]',
    repeated: 'last wins',
    about: "the guest's CPU: a model, features, check, enforce, kvm=, pmu=, migratable=, tsc-frequency=",
    differs:
      "Default host instead of qemu64. Models that docs/cpu.md does not list are the host's CPU, and a warning says so. Missing features are told once, not for each vCPU. migratable=off is the default. No other property.",
    read: readCpu,
  },
  {
    name: '-overcommit',
    argument: 'cpu-pm=on|off',
    repeated: 'last wins',
    about: 'the guest keeps a physical CPU while it idles',
    differs: 'No mem-lock=on. The guest is not offered MONITOR and MWAIT.',
    read: readOvercommit,
  },
  {
    name: '-m',
    argument: '[size=]SIZE',
    repeated: 'last wins',
    about: 'guest memory: 64M, 1.5G, or 128 for MiB; default 128M, at least 1M',
    differs: 'No slots= and maxmem=. Below 1 MiB refused.',
    read: readMemory,
  },
  {
    name: '-mem-path',
    argument: 'PATH',
    repeated: 'last wins',
    about: 'guest memory from a file, or from an unnamed one in a directory (on hugetlbfs: huge pages)',
    differs: '',
    read: (draft, path) => void (draft.memPath = path),
  },
  {
    name: '-mem-prealloc',
    repeated: 'no effect',
    about: 'the host provides all guest memory before the guest starts',
    differs: '',
    read: draft => void (draft.memPrealloc = true),
  },
  {
    name: '-smp',
    argument: '[cpus=]N[,sockets=,dies=,cores=,threads=]',
    repeated: 'last wins',
    about: 'number of vCPUs, 1 to 255, and how they are arranged; default 1',
    differs: 'maxcpus= other than cpus= refused.',
    read: readSmp,
  },
  {
    name: '-kernel',
    argument: 'FILE',
    repeated: 'last wins',
    about: 'a bzImage, ELF64 with or without a PVH note, or ELF32 with a multiboot-1 header',
    differs: 'Required: there is no firmware. A bzImage starts in 64-bit mode, not in its real-mode code.',
    read: (draft, file) => void (draft.kernel = file),
  },
  {
    name: '-initrd',
    argument: 'FILE',
    repeated: 'last wins',
    about: "initial RAM disk; for multiboot a list of modules: 'FILE ARGS,FILE ARGS'",
    differs: '',
    read: (draft, file) => void (draft.initrd = file),
  },
  {
    name: '-append',
    argument: 'TEXT',
    repeated: 'last wins',
    about: "the kernel's command line",
    differs: '',
    read: (draft, text) => void (draft.append = text),
  },
  {
    name: '-device',
    argument: 'isa-debug-exit[,iobase=PORT,iosize=N]',
    repeated: 'last wins',
    about: 'a port whose write of V ends the machine with status (V << 1) | 1',
    differs: 'No other device. iosize 1 to 8.',
    read: readDevice,
  },
  {
    name: '-global',
    argument: 'kvm-pit.lost_tick_policy=delay|discard',
    repeated: 'last wins',
    about: 'whether ticks of the PIT that the guest is too late for come late or not at all; default delay',
    differs: 'No other property, and none of other devices.',
    read: readGlobal,
  },
  {
    name: '-serial',
    argument: 'stdio|null|none|file:PATH',
    repeated: 'refused',
    about: 'where COM1 goes; default null, with -nographic stdio',
    differs:
      'COM1 only, and no other back ends. With none COM1 exists and its output is dropped. Without -serial and -nographic: null.',
    read: readSerial,
  },
  {
    name: '-nographic',
    repeated: 'no effect',
    about: 'COM1 on stdio, unless -serial or -nodefaults says otherwise',
    differs: 'No monitor on the same terminal: Ctrl-C ends the machine.',
    read: draft => void (draft.nographic = true),
  },
  {
    name: '-display',
    argument: 'none',
    repeated: 'no effect',
    about: 'accepted: there is no display',
    differs: 'Nothing but none.',
    read: readNone('-display'),
  },
  {
    name: '-vnc',
    argument: 'none',
    repeated: 'no effect',
    about: 'accepted: there is no display',
    differs: 'Nothing but none.',
    read: readNone('-vnc'),
  },
  {
    name: '-nodefaults',
    repeated: 'no effect',
    about: 'no default serial port; there are no other default devices',
    differs: '',
    read: draft => void (draft.nodefaults = true),
  },
  {
    name: '-no-user-config',
    repeated: 'no effect',
    about: 'accepted: there are no configuration files',
    differs: '',
    read: () => {},
  },
  {
    name: '-no-reboot',
    repeated: 'no effect',
    about: "a guest's reset ends the machine, with status 0",
    differs: '',
    read: draft => void (draft.noReboot = true),
  },
  {
    name: '-no-shutdown',
    repeated: 'no effect',
    about: 'stay when the guest has shut down or failed, until a signal',
    differs: '',
    read: draft => void (draft.noShutdown = true),
  },
  {
    name: '-S',
    repeated: 'no effect',
    about: 'do not start the vCPUs',
    differs: 'There is no monitor that could start them: the machine waits for a signal.',
    read: draft => void (draft.paused = true),
  },
  {
    name: '-name',
    argument: 'NAME',
    repeated: 'last wins',
    about: 'a name for messages',
    differs: 'No process= and debug-threads=.',
    read: readName,
  },
  {
    name: '-pidfile',
    argument: 'FILE',
    repeated: 'last wins',
    about: 'write the process id there, and remove the file at the end',
    differs: 'Refused where something other than a file is; removed only while it holds our own id.',
    read: (draft, file) => void (draft.pidfile = file),
  },
  {
    name: '-stats',
    argument: 'SECONDS[,file=PATH]',
    repeated: 'last wins',
    about:
      'exits by kind and the kernel’s statistics every so often: a table on a terminal, else lines of JSON on stderr',
    differs: 'Ours; QEMU shows the kernel’s statistics in its monitor.',
    read: readStats,
  },
  {
    name: '-trace',
    argument: '[enable=]PATTERN[,file=PATH][,format=json|chrome]',
    repeated: 'adds',
    about: 'record events whose names match the glob, as lines of JSON on stderr, or into a file; help lists them',
    differs: 'Of QEMU’s events those of accel/kvm, and ours. No events=FILE; format= is ours, and file= takes text.',
    read: readTrace,
  },
  {
    name: '-version',
    repeated: 'no effect',
    about: 'print the version',
    differs: '',
    read: versionText,
  },
  {
    name: '-help',
    aliases: ['-h'],
    repeated: 'no effect',
    about: 'print this text',
    differs: '',
    read: () => runHelp(runOptions),
  },
]
