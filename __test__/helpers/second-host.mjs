// The second host: a stock kernel with kvm-amd in QEMU's emulator. Runs a command there, and
// decides whether a failure is the host's own. `.ci/run` names the script. Plain JavaScript,
// because `npm test` prepares the host with it, too.

import { spawn } from 'node:child_process'
import { appendFileSync, existsSync, mkdirSync, readFileSync } from 'node:fs'

/**
 * Seconds for one boot. A last resort against a hang: the emulator is slow, and slower on a busy
 * machine.
 */
export const seconds = 2700

/**
 * The maximum number of restarts of the host in a run of `npm test`. A host that needs more is
 * broken, and so may be the tests that run on it.
 */
export const RESTARTS = 3

/** The line that the host prints every ten seconds. */
const ALIVE = 'second host: alive'

/** Seconds without output after which the host counts as hung. */
const SILENCE = 300

/**
 * One processor. With two processors the host now and then hangs or panics. The likely cause:
 * QEMU's emulator runs translations of code that Linux is patching (a static key, such as KVM's for
 * the first VM).
 */
const machine = ['-smp', '1']

/** Returns the script that runs a command beside a loop that prints {@linkcode ALIVE}. */
const watched = command => [
  'sh',
  '-c',
  `while sleep 10; do echo '${ALIVE}'; done & "$@"; status=$?; kill $!; exit $status`,
  'sh',
  ...command,
]

/**
 * Returns the reason why an end was the second host's own failure; undefined if it was not. The
 * console shows the reason: the kernel panicked, which ends the emulator, or the output stopped.
 * Any other failure is a failure of the command.
 *
 * @param {{ readonly stdout: string, readonly stderr: string, readonly silent: boolean }} finished
 * @returns {string | undefined}
 */
export const ownFailure = ({ stdout, stderr, silent }) => {
  const ended = /did not end \(status (\d+) /.exec(stderr)
  if (!ended) return undefined
  if (silent) return `the host hung: its console was silent for ${SILENCE} seconds after '${lastLine(stdout)}'`
  const panic = /Kernel panic - not syncing: [^\r\n]*/g
  // The last panic counts: guests that ran before may have panicked as well.
  const last = stdout.match(panic)?.at(-1)
  return ended[1] === '0' && last !== undefined ? `the host's kernel panicked: ${last}` : undefined
}

const lastLine = text => text.trimEnd().split('\n').at(-1)?.trim().slice(-200)

let restartsHere = 0

/**
 * Counts a restart; returns false if the limit is reached. `npm test` names a file that all test
 * processes share.
 */
const mayRestart = reason => {
  const file = process.env['KVM_ACCEL_RESTARTS']
  if (file === undefined) return ++restartsHere <= RESTARTS
  appendFileSync(file, `${reason}\n`)
  return restarts(file).length <= RESTARTS
}

/**
 * Returns the reasons of the restarts that a file records.
 *
 * @param {string} file
 */
export const restarts = file => (existsSync(file) ? readFileSync(file, 'utf8').split('\n').slice(0, -1) : [])

/**
 * Ends the emulator among the descendants of a process. The script then copies the files that the
 * command left, and reports that the command did not end.
 */
const endEmulator = pid => {
  for (const child of children(pid)) {
    endEmulator(child)
    try {
      if (readFileSync(`/proc/${child}/comm`, 'utf8').startsWith('qemu-system')) process.kill(child, 'SIGKILL')
    } catch {
      // The process has ended by itself.
    }
  }
}

const children = pid => {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number)
  } catch {
    return []
  }
}

/** Boots the host once. */
const boot = (flags, command, out) =>
  new Promise((resolve, reject) => {
    const args = [...machine, ...flags, '-t', String(seconds), '--', ...watched(command)]
    const env = { ...process.env, OUT: out }
    const child = spawn(process.env['KVM_ACCEL_SVM_HOST'] ?? '', args, { env, stdio: ['ignore', 'pipe', 'pipe'] })
    const result = { status: null, stdout: '', stderr: '', silent: false }
    const onSilence = () => {
      result.silent = true
      endEmulator(child.pid)
    }
    let silence = setTimeout(onSilence, SILENCE * 1000)
    child.stdout.setEncoding('utf8').on('data', text => {
      result.stdout += text
      clearTimeout(silence)
      if (!result.silent) silence = setTimeout(onSilence, SILENCE * 1000)
    })
    child.stderr.setEncoding('utf8').on('data', text => (result.stderr += text))
    const end = () => endEmulator(child.pid)
    process.once('exit', end)
    child.once('error', reject)
    child.once('close', status => {
      clearTimeout(silence)
      process.off('exit', end)
      resolve({ ...result, status, stdout: result.stdout.replace(new RegExp(`${ALIVE}\\r?\\n`, 'g'), '') })
    })
  })

/**
 * Runs a command on the second host, in the current folder. The command leaves files in `out`. A
 * host that fails by its own fault is restarted, at most {@linkcode RESTARTS} times; `restarted`
 * has the reasons. Every other failure is final.
 *
 * @param {readonly string[]} flags
 * @param {readonly string[]} command
 * @param {string} out
 * @returns {Promise<{ status: number | null, stdout: string, stderr: string, restarted: string[]
 * }>}
 */
export const inside = async (flags, command, out) => {
  mkdirSync(out, { recursive: true })
  const restarted = []
  for (;;) {
    const finished = await boot(flags, command, out)
    const reason = ownFailure(finished)
    const { status, stdout, stderr } = finished
    if (reason === undefined) return { status, stdout, stderr, restarted }
    if (!mayRestart(reason)) {
      const budget = `${stderr}the second host failed by itself more than ${RESTARTS} times in this run; this time ${reason}\n`
      return { status: status || 1, stdout, stderr: budget, restarted }
    }
    restarted.push(reason)
  }
}
