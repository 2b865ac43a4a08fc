// The completion of shells, from the table of options.

import { runOptions, type RunOption } from '../argv/run-options.js'
import { commandOptions, commandTexts } from './commands.js'

/** The shells that have a completion. */
export const shells = ['bash', 'zsh', 'fish'] as const

/** A shell. */
export type Shell = (typeof shells)[number]

/** How an argument is completed: by words, by the names of files, or not at all. */
type Values = { readonly kind: 'words'; readonly words: readonly string[] } | { readonly kind: 'file' | 'text' }

/** An option as completion needs it. */
interface Completed {
  readonly names: readonly string[]
  /** Absent for an option without an argument. */
  readonly values?: Values
  readonly about: string
}

const completed: readonly Completed[] = runOptions.map(option => {
  const { name, aliases = [], about } = option
  const values = valuesOf(option)
  return { names: [name, ...aliases], ...(values && { values }), about: about.replaceAll('`', '') }
})

function valuesOf({ argument, words }: RunOption): Values | undefined {
  if (argument === undefined) return undefined
  if (words !== undefined) return { kind: 'words', words }
  if (/^[a-z]+$/.test(argument)) return { kind: 'words', words: [argument] }
  return { kind: /^(?:FILE|PATH)/.test(argument) ? 'file' : 'text' }
}

const commands = Object.keys(commandTexts)
const optionNames = completed.flatMap(({ names }) => names)

/** Returns the script that a shell reads. */
export function completion(shell: Shell): string {
  return { bash, zsh, fish }[shell]()
}

/** Quotes a text for a shell. */
const quote = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`

/** Returns the words after a command other than `run`. */
const commandWords = (command: string): readonly string[] =>
  command === 'completion' ? shells : (commandOptions[command] ?? []).map(({ name }) => name)

function bash(): string {
  const reply = (words: string) => `mapfile -t COMPREPLY < <(compgen -W ${words} -- "$cur")`
  const cases = completed.flatMap(({ names, values }) => {
    if (values === undefined) return []
    const action =
      values.kind === 'words'
        ? reply(quote(values.words.join(' ')))
        : values.kind === 'file'
          ? 'compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$cur")'
          : ':'
    return [`    ${names.join('|')}) ${action}; return ;;`]
  })
  const others = commands.filter(command => command !== 'run')
  return `_kvm_accel_run() {
  local cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD-1]} dash=
  COMPREPLY=()
  case \${prev/#--/-} in
${cases.join('\n')}
  esac
  if [[ $cur == --* ]]; then dash=-; fi
  mapfile -t COMPREPLY < <(compgen -P "$dash" -W ${quote(optionNames.join(' '))} -- "\${cur#"$dash"}")
}
_kvm_accel() {
  local cur=\${COMP_WORDS[COMP_CWORD]} words=
  if (( COMP_CWORD == 1 )); then
    words=${quote([...commands, '--help', '--version'].join(' '))}
  else
    case \${COMP_WORDS[1]} in
      run) _kvm_accel_run; return ;;
${others.map(command => `      ${command}) words=${quote(commandWords(command).join(' '))} ;;`).join('\n')}
    esac
  fi
  ${reply('"$words"')}
}
complete -F _kvm_accel kvm-accel
complete -F _kvm_accel_run kvm-accel-system-x86_64
`
}

function zsh(): string {
  /** Escapes the characters that end a part of a specification. */
  const escape = (text: string) => text.replaceAll(/[\\[\]:]/g, '\\$&')
  const action = (values: Values) =>
    values.kind === 'words' ? `(${values.words.join(' ')})` : values.kind === 'file' ? '_files' : ' '
  const specs = completed.flatMap(({ names, values, about }) =>
    names.map(name => quote(`*${name}[${escape(about)}]${values ? `:argument:${action(values)}` : ''}`)),
  )
  const described = Object.entries(commandTexts).map(([name, about]) => quote(`${name}:${escape(about)}`))
  const others = commands.filter(command => command !== 'run')
  return `#compdef kvm-accel kvm-accel-system-x86_64
_kvm_accel_run() {
  _arguments \\
    ${specs.join(' \\\n    ')}
}
_kvm_accel() {
  if [[ $service == kvm-accel-system-x86_64 ]]; then
    _kvm_accel_run
  elif (( CURRENT == 2 )); then
    local -a commands=(${described.join(' ')})
    _describe command commands
  else
    case $words[2] in
      run) shift words; (( CURRENT-- )); _kvm_accel_run ;;
${others.map(command => `      ${command}) compadd -- ${commandWords(command).join(' ')} ;;`).join('\n')}
    esac
  fi
}
if [[ $funcstack[1] == _kvm_accel ]]; then
  _kvm_accel "$@"
else
  compdef _kvm_accel kvm-accel kvm-accel-system-x86_64
fi
`
}

function fish(): string {
  const run = '__fish_seen_subcommand_from run'
  const action = (values: Values | undefined) => {
    if (values === undefined) return ''
    if (values.kind === 'words') return ` -x -a ${fishQuote(values.words.join(' '))}`
    return values.kind === 'file' ? ' -r -F' : ' -x'
  }
  const options = completed.flatMap(({ names, values, about }) =>
    names.flatMap(name => {
      // -o declares a name after one dash. -s would let letters follow each other, as in -Sh.
      const rest = `-o ${name.slice(1)}${action(values)} -d ${fishQuote(about)}`
      return [`complete -c kvm-accel -n '${run}' ${rest}`, `complete -c kvm-accel-system-x86_64 ${rest}`]
    }),
  )
  const named = Object.entries(commandTexts).map(
    ([name, about]) => `complete -c kvm-accel -n __fish_use_subcommand -a ${name} -d ${fishQuote(about)}`,
  )
  const others = commands
    .filter(command => command !== 'run')
    .map(
      command =>
        `complete -c kvm-accel -n '__fish_seen_subcommand_from ${command}' -a ${fishQuote(commandWords(command).join(' '))}`,
    )
  return `complete -c kvm-accel -f\n${[...named, ...others, ...options].join('\n')}\n`
}

/** Quotes a text for fish, whose quotes have escapes. */
function fishQuote(text: string): string {
  return `'${text.replaceAll(/['\\]/g, '\\$&')}'`
}
