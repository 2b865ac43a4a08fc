#!/usr/bin/env node

import { loadBundle } from './load-bundle.js'

// `kvm-accel run` as a separate program, for test harnesses that call QEMU's command line.
void loadBundle('run').run(process.argv.slice(2)).then(process.exit)
