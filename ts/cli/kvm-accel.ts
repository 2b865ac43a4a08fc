#!/usr/bin/env node

import { loadBundle } from './load-bundle.js'

// `run` does not use commander. Its options are QEMU's, and loading commander would delay the
// guest's first byte.
const [word, ...rest] = process.argv.slice(2)
if (word === 'run') void loadBundle('run').run(rest).then(process.exit)
else void loadBundle('commands').main(process.argv)
