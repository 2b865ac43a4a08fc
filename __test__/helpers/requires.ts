import test, { type ExecutionContext } from 'ava'
import { spawnSync } from 'node:child_process'
import { accessSync, constants, existsSync } from 'node:fs'
import { emulated, interposer } from './paths.js'

/** The reason why a requirement of a test is missing; undefined when it is available. */
type Missing = string | undefined

const attempt = (what: () => void): Missing => {
  try {
    what()
    return undefined
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}

/** Requires a /dev/kvm that this process may open. */
export const kvm = (): Missing => attempt(() => accessSync('/dev/kvm', constants.R_OK | constants.W_OK))

/** Requires the interposer library. */
export const preload = (): Missing =>
  interposer === undefined ? 'the interposer is not built (cargo build -p kvm-accel-interposer)' : undefined

/** Requires QEMU, for the comparison. */
export const qemu = (): Missing =>
  spawnSync('qemu-system-x86_64', ['--version']).status === 0
    ? undefined
    : 'qemu-system-x86_64 is not installed (apt-get install --no-install-recommends qemu-system-x86 seabios qemu-utils-)'

/** The folder of the images in Debian's package seabios. */
export const FIRMWARE = '/usr/share/seabios'

/** Requires SeaBIOS, which is installed with QEMU's package. */
export const firmwareImages = (): Missing =>
  existsSync(FIRMWARE) ? undefined : `${FIRMWARE} has no firmware (apt-get install --no-install-recommends seabios)`

/**
 * Requires the script that runs a command on a host with hardware virtualization. `.ci/run` names
 * it.
 */
export const svmHost = (): Missing =>
  process.env['KVM_ACCEL_SVM_HOST'] ? undefined : 'KVM_ACCEL_SVM_HOST does not name the svm-host run script'

/** Requires Debian as a guest: the folder that `.ci/debian-guest` prints. */
export const debian = (): Missing =>
  process.env['KVM_ACCEL_TEST_DEBIAN']
    ? undefined
    : 'KVM_ACCEL_TEST_DEBIAN does not name the folder that .ci/debian-guest makes'

/** Returns the path of qemu-img. */
export const qemuImgPath = (): string => process.env['KVM_ACCEL_TEST_QEMU_IMG'] ?? ''

/** Requires qemu-img. `.ci/qemu-img` unpacks it and prints its path. */
export const qemuImg = (): Missing =>
  qemuImgPath() ? undefined : 'KVM_ACCEL_TEST_QEMU_IMG does not name qemu-img (.ci/qemu-img prints it)'

/**
 * Requires a Linux kernel with a PVH note, and an initrd whose init prints `INIT:` lines and
 * reboots. `.ci/run` names them.
 */
export const linux = (): Missing =>
  process.env['KVM_ACCEL_TEST_KERNEL'] && process.env['KVM_ACCEL_TEST_INITRD']
    ? undefined
    : 'KVM_ACCEL_TEST_KERNEL and KVM_ACCEL_TEST_INITRD do not name a kernel and its initrd'

/**
 * With `KVM_ACCEL_TIMES`, a test prints `TIME MILLISECONDS FILE`. The file is printed because one
 * process may run tests of many files.
 */
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
 * Returns `test.serial` for tests that require something of the host. A missing requirement skips
 * the test, with the reason in the title. With CI=true it fails the test, because a skipped test
 * would go unnoticed there.
 */
export const requires = (...needs: readonly (() => Missing)[]) => {
  const missing = needs.map(need => need()).find(reason => reason !== undefined)
  return (title: string, implementation: (t: ExecutionContext) => Promise<void> | void): void => {
    if (missing === undefined) test.serial(title, measured(implementation))
    else if (process.env['CI'] === 'true') test.serial(title, t => t.fail(`Missing: ${missing}`))
    else test.skip(`${title} (missing: ${missing})`, implementation)
  }
}

/** Requires a C compiler and a linker, for the guests and programs of the tests. */
export const compiler = (): Missing =>
  ['cc', 'ld'].every(command => spawnSync(command, ['--version']).status === 0)
    ? undefined
    : 'gcc or another C compiler is missing (apt-get install gcc)'

/** Requires passt, for user-mode networks. */
export const passt = (): Missing =>
  spawnSync('passt', ['--version']).status === 0 ? undefined : 'passt is not installed (apt-get install passt)'

/** Requires the permission to create tap interfaces. */
export const tap = (): Missing => {
  const name = `kvmtap${process.pid % 10_000}`
  const added = spawnSync('ip', ['tuntap', 'add', name, 'mode', 'tap'], { encoding: 'utf8' })
  spawnSync('ip', ['tuntap', 'del', name, 'mode', 'tap'])
  return added.status === 0 ? undefined : `cannot create tap interfaces: ${added.stderr || added.error?.message}`
}

/**
 * The requirements that a CI host may lack, with the host and the reason. Any other missing
 * requirement with CI=true is a failure.
 */
const lacking = {
  'execute breakpoints from outside': emulated && 'QEMU’s emulation of SVM does not arm them',
  'a host without notify exits': false,
  KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2: false,
  KVM_CAP_X86_MSR_FILTER: false,
  KVM_DEV_TYPE_VFIO: false,
} as const satisfies Record<string, false | string>

/**
 * Ends a test, or a part of one, because this host lacks a requirement, and prints the reason. With
 * CI=true the requirement must be one of the known ones.
 */
export const skips = (t: ExecutionContext, what: keyof typeof lacking): void => {
  const reason = lacking[what]
  const text = `skipped: ${what}${reason ? `: ${reason}` : ' is missing on this host'}`
  if (reason === false && process.env['CI'] === 'true') t.fail(text)
  else t.pass()
  t.log(text)
}
