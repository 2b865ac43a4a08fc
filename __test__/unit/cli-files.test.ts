import test from 'ava'
import { existsSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { isMultiboot, isQcow2 } from '../../ts/cli/image-files.js'
import { writePidfile } from '../../ts/cli/pidfile.js'
import { OptionError } from '../../ts/errors/index.js'
import { scratch } from '../helpers/paths.js'

const file = (name: string, content: string | Uint8Array = ''): string => {
  const path = join(scratch(), name)
  writeFileSync(path, content)
  return path
}

test('a pidfile holds our id and is removed', t => {
  const path = join(scratch(), 'new.pid')
  const remove = writePidfile(path)
  t.is(readFileSync(path, 'utf8'), `${process.pid}\n`)
  remove()
  t.false(existsSync(path))
  t.notThrows(remove)
})

test('a pidfile of a process that is gone is taken over', t => {
  const path = file('old.pid', '1234567 and more\n')
  const remove = writePidfile(path)
  t.is(readFileSync(path, 'utf8'), `${process.pid}\n`)
  remove()
  t.false(existsSync(path))
})

test('a pidfile that someone else took over stays', t => {
  const path = join(scratch(), 'taken.pid')
  const remove = writePidfile(path)
  writeFileSync(path, '1\n')
  remove()
  t.true(existsSync(path))
})

test('what is no file is neither written nor removed', t => {
  // A link, so that a mistake here costs the link and not the device.
  const path = join(scratch(), 'null.pid')
  symlinkSync('/dev/null', path)
  t.throws(() => writePidfile(path), { instanceOf: OptionError, message: /not a regular file/ })
  t.true(existsSync(path))
  t.throws(() => writePidfile(scratch()), { instanceOf: OptionError })
})

test('a pidfile in no folder is refused with the path', t => {
  const error = t.throws(() => writePidfile('/nonexistent/pid'), { instanceOf: OptionError, code: 'ERR_OPTION' })
  t.regex(error?.message ?? '', /'\/nonexistent\/pid'/)
})

/** A multiboot header at `at` in a file of `length` bytes. */
const image = (at: number, length: number, checksum = -0x1bad_b002): Uint8Array => {
  const bytes = Buffer.alloc(length)
  bytes.writeUInt32LE(0x1bad_b002, at)
  bytes.writeInt32LE(checksum, at + 8)
  return bytes
}

test('a multiboot header is found where the specification has it', t => {
  t.true(isMultiboot(file('first', image(0, 12))))
  t.true(isMultiboot(file('last', image(8192 - 12, 16384))))
  t.false(isMultiboot(file('late', image(8192, 16384))))
  t.false(isMultiboot(file('odd', image(2, 64))))
  t.false(isMultiboot(file('checksum', image(0, 64, 1))))
  t.false(isMultiboot(file('empty')))
  t.false(isMultiboot('/nonexistent'))
  t.false(isMultiboot(scratch()))
})

test('a qcow2 image is known by its first bytes', t => {
  t.true(isQcow2(file('a.qcow2', Buffer.from('QFI\xfb\0\0\0\x03', 'latin1'))))
  t.false(isQcow2(file('a.raw', 'QFI')))
  t.false(isQcow2('/nonexistent'))
})
