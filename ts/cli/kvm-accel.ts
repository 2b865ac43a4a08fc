#!/usr/bin/env node

import { loadBundle } from './load-bundle.js'

// `run` goes past commander: its options are QEMU's, and a guest's first byte should not wait for what it does not need.
const [word, ...rest] = process.argv.slice(2)
if (word === 'run') void loadBundle('run').run(rest).then(process.exit)
else void loadBundle('commands').main(process.argv)
