import test from 'ava'
import { spawnSync } from 'node:child_process'
import { runOptions } from '../../ts/cli/argv/run-options.js'
import { completion, shells } from '../../ts/cli/help/completion.js'
import { manPage } from '../../ts/cli/help/man-page.js'
import { cli, root } from '../helpers/paths.js'

/** Calls the completion of bash for a command line whose last word is incomplete. */
const complete = (...words: readonly string[]): readonly string[] => {
  const call = words[0] === 'kvm-accel' ? '_kvm_accel' : '_kvm_accel_run'
  // compopt fails outside a completion, and COMPREPLY is the same without it.
  const script = `compopt() { :; }
${completion('bash')}
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
${call}
printf '%s\\n' "\${COMPREPLY[@]}"`
  const { stdout, stderr, status } = spawnSync('bash', ['-c', script, 'bash', ...words], {
    cwd: root,
    encoding: 'utf8',
  })
  if (status !== 0 || stderr !== '') throw new Error(stderr)
  return stdout.split('\n').filter(word => word !== '')
}

test('bash completes commands, options and words of options', t => {
  t.deepEqual(complete('kvm-accel', ''), ['run', 'demo', 'guests', 'doctor', 'completion', '--help', '--version'])
  t.deepEqual(complete('kvm-accel', 'completion', ''), [...shells])
  t.deepEqual(complete('kvm-accel', 'doctor', '-'), ['--json'])
  t.deepEqual(complete('kvm-accel', 'run', '-no-r'), ['-no-reboot'])
  t.deepEqual(complete('kvm-accel', 'run', '--no-r'), ['--no-reboot'])
  t.deepEqual(complete('kvm-accel', 'run', '-device', 'virtio-b'), ['virtio-blk-device', 'virtio-balloon-device'])
  t.deepEqual(complete('kvm-accel-system-x86_64', '-S', '--netdev', ''), ['tap', 'user', 'stream', 'help'])
  t.deepEqual(complete('kvm-accel-system-x86_64', '-display', ''), ['none'])
})

test('bash completes file names for options that take a file, and nothing for a text', t => {
  t.deepEqual([...complete('kvm-accel', 'run', '-kernel', 'Cargo.')].sort(), ['Cargo.lock', 'Cargo.toml'])
  t.deepEqual(complete('kvm-accel', 'run', '-append', 'Cargo'), [])
})

for (const shell of shells) {
  test(`the completion of ${shell} has every option`, t => {
    const script = completion(shell)
    for (const { name, aliases = [] } of runOptions) {
      for (const spelled of [name, ...aliases]) {
        t.true(script.includes(shell === 'fish' ? ` -o ${spelled.slice(1)} ` : spelled), spelled)
      }
    }
  })
}

test('kvm-accel completion prints a script, and refuses an unknown shell', t => {
  const run = (shell: string) => spawnSync(process.execPath, [cli, 'completion', shell], { encoding: 'utf8' })
  for (const shell of shells) t.is(run(shell).stdout, completion(shell))
  const { status, stderr } = run('csh')
  t.is(status, 1)
  t.regex(stderr, /^kvm-accel: error: .*'csh'.*bash, zsh, fish/)
})

test('the manual page has every option, and its texts are no requests', t => {
  const page = manPage()
  for (const { name } of runOptions) t.true(page.includes(`\n.TP\n\\fB${name.replaceAll('-', '\\-')}`), name)
  const requests = /^[.'](?!(?:TH|SH|TP|PP|nf|fi|br|B|BR)\b)/m
  t.notRegex(page, requests)
  t.regex(page, /^[\n -~]+$/)
})
