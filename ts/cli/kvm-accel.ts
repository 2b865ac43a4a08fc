#!/usr/bin/env node

// `run` goes past commander: its options are QEMU's, and a guest's first byte should not wait for what it does not need.
const [word, ...rest] = process.argv.slice(2)
if (word === 'run') {
  const { run } = await import('./run.js')
  process.exit(await run(rest))
} else {
  const { main } = await import('./commands.js')
  await main(process.argv)
}
