// The second host, a stock kernel with kvm-amd in QEMU's emulator: runs a command there, and decides when a failure is the host's own.
// `.ci/run` names the script. Plain JavaScript, because `npm test` prepares the host with it, too.

import { spawn } from 'node:child_process'
import { appendFileSync, existsSync, mkdirSync, readFileSync } from 'node:fs'

/** Seconds for one boot. A last resort: the emulator is slow, and slower on a busy machine. */
export const seconds = 2700

/**
 * Restarts of the host in a run of `npm test`. A host that needs more is broken, and so may be what runs on it.
 */
export const RESTARTS = 3

/** What the host prints every ten seconds. */
const ALIVE = 'second host: alive'

/** Seconds without a word of the host after which it hangs. */
const SILENCE = 300

/**
 * One processor: with two the host now and then hangs or panics, most likely because QEMU's emulator runs what it had translated of code
 * that Linux is patching (a static key, such as KVM's for the first VM).
 */
const machine = ['-smp', '1']

/** Runs a command beside a loop that prints {@linkcode ALIVE}. */
const watched = command => [
  'sh',
  '-c',
  `while sleep 10; do echo '${ALIVE}'; done & "$@"; status=$?; kill $!; exit $status`,
  'sh',
  ...command,
]

/**
 * Why an end was the second host's own failure; nothing if it was not. Its console tells: the kernel panics, which ends the emulator, or
 * says nothing any more. Whatever else fails is a failure of what ran there.
 *
 * @param {{ readonly stdout: string, readonly stderr: string, readonly silent: boolean }} finished
 * @returns {string | undefined}
 */
export const ownFailure = ({ stdout, stderr, silent }) => {
  const ended = /did not end \(status (\d+) /.exec(stderr)
  if (!ended) return undefined
  if (silent) return `the host hung: its console was silent for ${SILENCE} seconds after '${lastLine(stdout)}'`
  const panic = /Kernel panic - not syncing: [^\r\n]*/g
  // The last one: guests that ran before may have panicked as well.
  const last = stdout.match(panic)?.at(-1)
  return ended[1] === '0' && last !== undefined ? `the host's kernel panicked: ${last}` : undefined
}

const lastLine = text => text.trimEnd().split('\n').at(-1)?.trim().slice(-200)

let restartsHere = 0

/** Counts a restart; false if there were too many. `npm test` names a file that all test processes share. */
const mayRestart = reason => {
  const file = process.env['KVM_ACCEL_RESTARTS']
  if (file === undefined) return ++restartsHere <= RESTARTS
  appendFileSync(file, `${reason}\n`)
  return restarts(file).length <= RESTARTS
}

/**
 * The reasons of the restarts that a file counts.
 *
 * @param {string} file
 */
export const restarts = file => (existsSync(file) ? readFileSync(file, 'utf8').split('\n').slice(0, -1) : [])

/** Ends the emulator below a process; the script then copies what the command left and says that it did not end. */
const endEmulator = pid => {
  for (const child of children(pid)) {
    endEmulator(child)
    try {
      if (readFileSync(`/proc/${child}/comm`, 'utf8').startsWith('qemu-system')) process.kill(child, 'SIGKILL')
    } catch {
      // It has ended by itself.
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

/** One boot. */
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
 * Runs a command on the second host, in the current folder. The command leaves files in `out`. A host that fails by itself is restarted,
 * within a budget; `restarted` has the reasons. Every other failure is final.
 *
 * @param {readonly string[]} flags
 * @param {readonly string[]} command
 * @param {string} out
 * @returns {Promise<{ status: number | null, stdout: string, stderr: string, restarted: string[] }>}
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
