import { kvmTests } from '../helpers/second-host.js'

kvmTests(2, 3)
