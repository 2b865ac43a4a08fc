// A process that runs one machine, for tests that run it under the interposer:
// `notify-process.ts CASE`.

import { notifyRun, type NotifyCase } from './notify-run.js'

process.stdout.write(JSON.stringify(await notifyRun(JSON.parse(process.argv[2] ?? '') as NotifyCase)))
