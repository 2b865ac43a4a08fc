import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { root, scratch } from '../helpers/paths.js'
import { kvm, requires } from '../helpers/requires.js'

const test = requires(kvm)

/** The environment of a user: node and npm, without cargo. */
const env = { HOME: process.env['HOME'], PATH: `${dirname(process.execPath)}:/usr/bin:/bin` }

const run = (command: string, args: readonly string[], cwd: string) => {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd, env, encoding: 'utf8', timeout: 120_000 })
  return { status, stdout, stderr }
}

const tarballs = join(scratch(), 'tarballs')

/** Creates a project that has installed these tarballs. */
const install = (name: string, packages: readonly string[]): string => {
  const project = join(scratch(), name)
  rmSync(project, { recursive: true, force: true })
  mkdirSync(project)
  writeFileSync(join(project, 'package.json'), '{ "private": true, "type": "module" }')
  const options = ['install', '--prefer-offline', '--no-audit', '--no-fund']
  const { status, stderr } = run('npm', [...options, ...packages.map(file => join(tarballs, file))], project)
  if (status !== 0) throw new Error(stderr)
  return project
}

const example = (): string => {
  const [, code] = /```ts\n([\s\S]*?)```/.exec(readFileSync(join(root, 'README.md'), 'utf8')) ?? []
  if (code === undefined) throw new Error('the README has no example')
  return code
}

test('the tarballs install without cargo, and the README’s example runs and type-checks', t => {
  const packed = spawnSync(process.execPath, [join(root, 'npm/scripts/pack.mjs'), '--built', tarballs], {
    encoding: 'utf8',
  })
  t.is(packed.status, 0, packed.stderr)
  const files = readdirSync(tarballs)
  t.deepEqual(files.toSorted(), ['kvm-accel-0.1.0.tgz', 'kvm-accel-linux-x64-gnu-0.1.0.tgz'])
  const project = install('project', files)

  writeFileSync(join(project, 'example.mjs'), example())
  const ran = run(process.execPath, ['example.mjs'], project)
  t.is(ran.status, 0, ran.stderr)
  t.regex(ran.stdout, /Hello from a guest/)

  writeFileSync(join(project, 'example.ts'), example())
  const options = [
    '--noEmit',
    '--strict',
    '--module',
    'nodenext',
    '--target',
    'es2023',
    '--lib',
    'es2023,esnext.disposable',
  ]
  const types = ['--typeRoots', join(root, 'node_modules/@types'), '--types', 'node', '--skipLibCheck', 'false']
  const checked = run(
    process.execPath,
    [join(root, 'node_modules/typescript/bin/tsc'), ...options, ...types, 'example.ts'],
    project,
  )
  t.is(checked.status, 0, checked.stdout)

  const version = run(join(project, 'node_modules/.bin/kvm-accel'), ['--version'], project)
  t.is(version.status, 0, version.stderr)
})

/** Returns the files of the installed package with these endings, and their texts. */
const packed = (ending: RegExp): readonly { readonly name: string; readonly text: string }[] => {
  const folder = join(scratch(), 'project/node_modules/kvm-accel')
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter(name => ending.test(name))
    .map(name => ({ name: join(folder, name), text: readFileSync(join(folder, name), 'utf8') }))
}

test('npx kvm-accel demo runs in the project, and names pages of the package', t => {
  const project = join(scratch(), 'project')
  const { status, stdout, stderr } = run('npx', ['--no-install', 'kvm-accel', 'demo'], project)
  t.is(status, 0, stderr)
  t.regex(stdout, /Hello from a guest/)
  const pages = [...stdout.matchAll(/node_modules\/kvm-accel\/\S+\.md/g)].map(([path]) => join(project, path))
  t.true(pages.length > 0)
  t.deepEqual(
    pages.filter(page => !existsSync(page)),
    [],
  )
})

test('links of the packed documents lead to packed files', t => {
  const pages = packed(/\.md$/)
  t.true(pages.length > 20)
  const dead = pages.flatMap(({ name, text }) =>
    [...text.matchAll(/\]\((?!https?:)([^)#]+)/g)]
      .map(([, link = '']) => join(dirname(name), link))
      .filter(path => !existsSync(path)),
  )
  t.deepEqual(dead, [])
})

test('each packed source map belongs to a packed file and contains its sources', t => {
  const named = packed(/\.js$/).flatMap(({ name, text }) =>
    [...text.matchAll(/^\/\/# sourceMappingURL=(\S+)$/gm)].map(([, map = '']) => join(dirname(name), map)),
  )
  const maps = packed(/\.map$/)
  t.true(maps.length > 100)
  t.deepEqual(maps.map(({ name }) => name).toSorted(), named.toSorted())
  for (const { name, text } of maps) {
    const { sources, sourcesContent } = JSON.parse(text) as { sources: string[]; sourcesContent?: (string | null)[] }
    t.is(sourcesContent?.filter(source => source !== null && source !== '').length, sources.length, name)
  }
})

test('without the platform’s package the import works, and the first use is an error with the reason', t => {
  const project = install('bare', ['kvm-accel-0.1.0.tgz'])
  const script = `
    import { Machine, resolveAccelerators } from 'kvm-accel'
    console.log(resolveAccelerators('kvm,notify-window=0x10').candidates[0].notifyWindow)
    await Machine.create({ kernel: new Uint8Array(16) }).catch(({ code, reason, remedy }) => console.log(code, reason, remedy))
  `
  const { stdout, stderr } = run(process.execPath, ['--input-type=module', '-e', script], project)
  t.regex(stdout, /^16\nERR_KVM_UNAVAILABLE no-binary Install with optional dependencies/, stderr)
})
