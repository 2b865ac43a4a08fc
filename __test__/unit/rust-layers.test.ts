// Imports in Rust point down, between crates and inside them, and only listed files allow unsafe code.
import { readFileSync, readdirSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { CRATES, crateViolations, moduleOrder, moduleViolations } from '../helpers/rust-layers.js'

const crates = join(dirname(fileURLToPath(import.meta.url)), '../../crates')

const rustFiles = (folder: string) =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile() && entry.name.endsWith('.rs'))
    .map(entry => join(entry.parentPath, entry.name))

const sources = (crate: string) => {
  const folder = join(crates, crate, 'src')
  return new Map(rustFiles(folder).map(file => [relative(folder, file), readFileSync(file, 'utf8')]))
}

test('a crate depends only on crates below it', t => {
  const names = readdirSync(crates)
  t.deepEqual([...names].sort(), [...CRATES].sort())
  const manifest = (crate: string) => readFileSync(join(crates, crate, 'Cargo.toml'), 'utf8')
  t.deepEqual(crateViolations(new Map(names.map(crate => [crate, manifest(crate)]))), [])
})

/** The crates and folders whose root file states how their modules depend on each other. */
const ORDERED: readonly (readonly [crate: string, folder: string])[] = [
  ['kvm', ''],
  ['memory', ''],
  ['kvm-objects', ''],
  ['accel', ''],
  ['machine', ''],
  ['machine', 'acpi'],
  ['machine', 'board/platform'],
  ['machine', 'boot'],
  ['machine', 'interrupts'],
  ['machine', 'ram'],
  ['machine', 'devices'],
  ['machine', 'virtio'],
  ['machine', 'virtio/devices'],
  ['machine', 'virtio/devices/vsock'],
  ['machine', 'board'],
  ['vmm', ''],
  ['vmm', 'config'],
  ['vmm', 'config/virtio'],
  ['binding', ''],
]

for (const [crate, folder] of ORDERED) {
  test(`modules of ${join('crates', crate, folder)} import only what their list allows`, t => {
    t.deepEqual(moduleViolations(sources(crate), folder), [])
  })
}

test('the check reports a dependency on a crate above', t => {
  const kvm =
    '[package]\nname = "kvm-accel-kvm"\n\n[dependencies]\nkvm-accel.workspace = true\nkvm-ioctls.workspace = true\n'
  const accel = '[package]\nname = "kvm-accel"\n\n[dependencies]\nkvm-accel-kvm.workspace = true\nkvm-ioctls = "0.25"\n'
  const both = new Map([
    ['kvm', kvm],
    ['accel', accel],
  ])
  t.deepEqual(crateViolations(both), ['kvm depends on accel', 'accel depends on kvm-ioctls'])
  const tests = kvm.replace('[dependencies]\nkvm-accel', '[dev-dependencies]\nkvm-accel')
  t.deepEqual(crateViolations(new Map([['kvm', tests]])), [], 'dependencies of tests are not checked')
  t.deepEqual(crateViolations(new Map([['new', kvm]])), ['crates/new has no place in the order'])
})

const ROOT = `//! Title.
//!
//! Modules, lowest first. A module imports only modules before it:
//!
//! - \`low\`: below.
//! - \`middle\`, \`high\`: above,
//!   in two lines.
//!
//! Text with \`other\`.
mod high;
mod low;
pub mod middle;
pub use high::{Top, inner::Deep};
pub use low::Bottom;
`

test('a root file states the order of its modules', t => {
  t.deepEqual(moduleOrder(ROOT), ['low', 'middle', 'high'])
  t.deepEqual(moduleViolations(new Map([['lib.rs', `${ROOT}mod more;\n`]])), ['lib.rs does not list more'])
})

for (const [title, file, text, wrong] of [
  ['a path', 'low.rs', 'fn f() { crate::middle::f() }', 'middle'],
  ['a use', 'low/mod.rs', 'use crate::high::Top;', 'high'],
  ['a group', 'middle.rs', 'use crate::{low::Bottom, high::{Top, Deep}};', 'high'],
  ['a re-export', 'low/inner.rs', 'use crate::{Bottom, Deep};', 'high'],
  ['super', 'low/inner.rs', 'use super::super::middle::f;', 'middle'],
  ['super in a group', 'low.rs', 'use super::{high, low};', 'high'],
] as const) {
  test(`the check reports an import of a module above by ${title}`, t => {
    const [, module = ''] = /^(\w+)/.exec(file) ?? []
    const files = new Map([
      ['lib.rs', ROOT],
      [file, text],
    ])
    t.deepEqual(moduleViolations(files), [`${file} imports ${wrong}, a module above ${module}`])
  })
}

for (const [title, file, text, wrong] of [
  ['a path', 'folder/low.rs', 'fn f() { crate::folder::middle::f() }', 'middle'],
  ['a group', 'folder/middle.rs', 'use crate::{low::Bottom, folder::{low::f, high::{Top, Deep}}};', 'high'],
  ['a re-export', 'folder/low/inner.rs', 'use crate::folder::{Bottom, Deep};', 'high'],
  ['super', 'folder/low/inner.rs', 'use super::super::middle::f;', 'middle'],
] as const) {
  test(`the check of a folder reports an import of a module above by ${title}`, t => {
    const module = /^folder\/(\w+)/.exec(file)?.[1] ?? ''
    const files = new Map([
      ['folder/mod.rs', ROOT],
      [file, text],
    ])
    t.deepEqual(moduleViolations(files, 'folder'), [`${file} imports ${wrong}, a module above ${module}`])
  })
}

test('the check of a folder accepts items of its root file and paths outside the folder', t => {
  const files = new Map([
    ['folder/mod.rs', `${ROOT}use crate::error::Error;\npub struct Own;\n`],
    ['folder/low.rs', 'use super::{Error, Own};\nuse crate::high::Top;\n'],
    ['high.rs', 'use crate::folder::high::Top;\n'],
  ])
  t.deepEqual(moduleViolations(files, 'folder'), [])
  files.set('folder/mod.rs', `${ROOT}mod more;\n`)
  t.deepEqual(moduleViolations(files, 'folder'), ['folder/mod.rs does not list more'])
})

test('independent modules do not import each other in either direction', t => {
  const files = new Map([
    ['folder/mod.rs', ROOT.replace('lowest first', 'independent of each other')],
    ['folder/low.rs', 'use super::high::Top;\n'],
    ['folder/high.rs', 'use super::low::Bottom;\n'],
  ])
  t.deepEqual(moduleViolations(files, 'folder'), [
    'folder/low.rs imports high, a module beside low',
    'folder/high.rs imports low, a module beside high',
  ])
})

test('the check accepts modules below, comments and tests', t => {
  const high = '/// [`crate::low`]\nuse crate::low::Bottom;\nuse super::middle;\nuse crate::high::own;\n'
  const low = 'use super::inner;\n// crate::high\n#[cfg(test)]\nmod tests {\n    use crate::high::Top;\n}\n'
  const files = new Map([
    ['lib.rs', ROOT],
    ['high.rs', high],
    ['low/mod.rs', low],
    ['low/more_tests.rs', 'use crate::high::Top;'],
  ])
  t.deepEqual(moduleViolations(files), [])
  files.set('high.rs', 'use crate::Unknown;')
  t.deepEqual(moduleViolations(files), ['high.rs names crate::Unknown, which lib.rs lacks'])
})

/** The files that allow unsafe code. The lint does not apply to crates/interposer and crates/guests. */
const UNSAFE = ['binding/src/kvm/view.rs', 'kvm-objects/src/lib.rs', 'kvm/src/lib.rs', 'memory/src/lib.rs']

test('unsafe code is allowed in the crates of the kernel interface, and where Node-API demands it', t => {
  const lifted = rustFiles(crates).filter(file => /\((?:[^)]*\W)?unsafe_code\b/.test(readFileSync(file, 'utf8')))
  t.deepEqual(lifted.map(file => relative(crates, file)).sort(), UNSAFE)
  const strict = CRATES.filter(crate =>
    /^\[lints\]\nworkspace = true$/m.test(readFileSync(join(crates, crate, 'Cargo.toml'), 'utf8')),
  )
  t.deepEqual(
    CRATES.filter(crate => !strict.includes(crate)),
    ['interposer'],
  )
})
