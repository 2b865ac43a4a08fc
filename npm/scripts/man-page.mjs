// `node --import tsx man-page.mjs FILE` writes the manual page kvm-accel(1).

import { writeFileSync } from 'node:fs'
import { manPage } from '../../ts/cli/help/man-page.ts'

writeFileSync(process.argv[2], manPage())
