// `npm start`: sets everything up and boots the embedded guest.
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { root, setUp } from './steps.mjs'

setUp()
const { status } = spawnSync(process.execPath, [join(root, 'examples/hello.mjs'), ...process.argv.slice(2)], {
  stdio: 'inherit',
})
process.exit(status ?? 1)
