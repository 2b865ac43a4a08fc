import test, { type ExecutionContext } from 'ava'
import { spawnSync } from 'node:child_process'
import { accessSync, constants, existsSync } from 'node:fs'
import { emulated, interposer } from './paths.js'

/** Why something that a test needs is missing; nothing when it is there. */
type Missing = string | undefined

const attempt = (what: () => void): Missing => {
  try {
    what()
    return undefined
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}

/** A /dev/kvm that this process may open. */
export const kvm = (): Missing => attempt(() => accessSync('/dev/kvm', constants.R_OK | constants.W_OK))

/** The interposer library. */
export const preload = (): Missing =>
  interposer === undefined ? 'the interposer is not built (cargo build -p kvm-accel-interposer)' : undefined

/** QEMU, the other side of the comparison. */
export const qemu = (): Missing =>
  spawnSync('qemu-system-x86_64', ['--version']).status === 0
    ? undefined
    : 'qemu-system-x86_64 is not installed (apt-get install --no-install-recommends qemu-system-x86 seabios qemu-utils-)'

/** Where Debian's package seabios has its images. */
export const FIRMWARE = '/usr/share/seabios'

/** SeaBIOS, which QEMU's package brings along. */
export const firmwareImages = (): Missing =>
  existsSync(FIRMWARE) ? undefined : `${FIRMWARE} has no firmware (apt-get install --no-install-recommends seabios)`

/** The script that runs a command on a host with hardware virtualization; `.ci/run` names it. */
export const svmHost = (): Missing =>
  process.env['KVM_ACCEL_SVM_HOST'] ? undefined : 'KVM_ACCEL_SVM_HOST does not name the svm-host run script'

/** Debian as a guest: the folder that `.ci/debian-guest` prints. */
export const debian = (): Missing =>
  process.env['KVM_ACCEL_TEST_DEBIAN']
    ? undefined
    : 'KVM_ACCEL_TEST_DEBIAN does not name the folder that .ci/debian-guest makes'

/** A Linux kernel with a PVH note and an initrd whose init prints `INIT:` lines and reboots; `.ci/run` names them. */
export const linux = (): Missing =>
  process.env['KVM_ACCEL_TEST_KERNEL'] && process.env['KVM_ACCEL_TEST_INITRD']
    ? undefined
    : 'KVM_ACCEL_TEST_KERNEL and KVM_ACCEL_TEST_INITRD do not name a kernel and its initrd'

/** With `KVM_ACCEL_TIMES` a test prints `TIME MILLISECONDS FILE`; one process may run tests of many files. */
const measured = (
  implementation: (t: ExecutionContext) => Promise<void> | void,
): ((t: ExecutionContext) => Promise<void>) => {
  const file = /__test__\/kvm\/([\w-]+\.test)\./.exec(new Error().stack ?? '')?.[1]
  return async t => {
    const start = performance.now()
    try {
      await implementation(t)
    } finally {
      if (process.env['KVM_ACCEL_TIMES']) console.log(`\nTIME ${Math.round(performance.now() - start)} ${file}.ts`)
    }
  }
}

/**
 * `test.serial` for tests that need something of the machine. What is missing skips them with the reason in the title, or,
 * with CI=true, fails them: there a skipped test would be a silent hole.
 */
export const requires = (...needs: readonly (() => Missing)[]) => {
  const missing = needs.map(need => need()).find(reason => reason !== undefined)
  return (title: string, implementation: (t: ExecutionContext) => Promise<void> | void): void => {
    if (missing === undefined) test.serial(title, measured(implementation))
    else if (process.env['CI'] === 'true') test.serial(title, t => t.fail(`Missing: ${missing}`))
    else test.skip(`${title} (missing: ${missing})`, implementation)
  }
}

/** A C compiler and a linker, for guests and programs of the tests' own. */
export const compiler = (): Missing =>
  ['cc', 'ld'].every(command => spawnSync(command, ['--version']).status === 0)
    ? undefined
    : 'there is no C compiler (apt-get install gcc)'

/** passt, for user-mode networks. */
export const passt = (): Missing =>
  spawnSync('passt', ['--version']).status === 0 ? undefined : 'passt is not installed (apt-get install passt)'

/** Leave to make tap interfaces. */
export const tap = (): Missing => {
  const name = `kvmtap${process.pid % 10_000}`
  const made = spawnSync('ip', ['tuntap', 'add', name, 'mode', 'tap'], { encoding: 'utf8' })
  spawnSync('ip', ['tuntap', 'del', name, 'mode', 'tap'])
  return made.status === 0 ? undefined : `tap interfaces cannot be made: ${made.stderr || made.error?.message}`
}

/** What a host of CI may lack, where, and why. Anything else that is missing with CI=true is a failure. */
const lacking = {
  'execute breakpoints from outside': emulated && 'QEMU’s emulation of SVM does not arm them',
  'a host without notify exits': false,
  KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2: false,
  KVM_CAP_X86_MSR_FILTER: false,
  KVM_DEV_TYPE_VFIO: false,
} as const satisfies Record<string, false | string>

/** Ends a test, or a part of one, that needs what this host lacks: its reason is printed; with CI=true it must be a known one. */
export const skips = (t: ExecutionContext, what: keyof typeof lacking): void => {
  const reason = lacking[what]
  const text = `skipped: ${what}${reason ? `: ${reason}` : ' is missing on this host'}`
  if (reason === false && process.env['CI'] === 'true') t.fail(text)
  else t.pass()
  t.log(text)
}
