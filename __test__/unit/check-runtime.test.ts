import test from 'ava'
import { KvmUnavailableError } from '../../ts/errors/index.js'
import { checkRuntime } from '../../ts/machine/lifecycle/check-runtime.js'

test('a machine is refused on Bun, with the reason', t => {
  t.notThrows(() => checkRuntime())
  const error = t.throws(() => checkRuntime({ ...process.versions, bun: '1.4.5' }), {
    instanceOf: KvmUnavailableError,
    message: /cannot run on Bun 1\.4\.5/,
  })
  t.is(error.reason, 'unsupported-runtime')
  t.regex(error.remedy ?? '', /Node\.js/)
})
