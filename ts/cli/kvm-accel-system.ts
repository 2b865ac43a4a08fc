#!/usr/bin/env node

import { loadBundle } from './load-bundle.js'

// `kvm-accel run` under a name and with a command line that harnesses made for QEMU can use.
void loadBundle('run').run(process.argv.slice(2)).then(process.exit)
