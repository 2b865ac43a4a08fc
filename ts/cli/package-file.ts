import { fileURLToPath } from 'node:url'

/** Returns the path of a file of this package. */
export function packageFile(name: string): string {
  // The relative path is the same from ts/cli and from dist/cli, bundled or not.
  return fileURLToPath(new URL(`../../${name}`, import.meta.url))
}
