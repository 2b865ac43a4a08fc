// `npm run build`: runs the steps for packages, addon and TypeScript whose inputs have changed.
import { setUp } from './steps.mjs'

setUp()
