// Medians with quartiles, and their table.

const at = (sorted, part) => sorted[Math.round((sorted.length - 1) * part)]

/**
 * Creates a row: the median of the values, their quartiles, and whether the median is within its
 * target.
 */
export const row = (name, values, { target, signed = false, unit } = {}) => {
  const sorted = values.toSorted((a, b) => a - b)
  const [low, median, high] = [0.25, 0.5, 0.75].map(part => at(sorted, part))
  return {
    name,
    ...(unit ? { unit } : {}),
    ...(values.length > 0 ? { median, low, high, samples: values.length } : {}),
    ...(signed ? { signed } : {}),
    ...(target === undefined || median === undefined ? {} : { target, reached: median <= target }),
  }
}

/** Returns the differences round by round. */
export const differences = (values, base) => values.map((value, round) => value - base[round])
export const ratios = (values, base) => values.map((value, round) => value / base[round])

/** Formats one group of rows as text. */
export const table = ({ name, unit, digits, rows }) => {
  const lines = [[name, unit, 'quartiles', 'target', '']]
  for (const { name, unit, median, low, high, signed, target, reached } of rows) {
    const figure = value => `${signed && value >= 0 ? '+' : ''}${value.toFixed(unit ? 2 : digits)}`
    lines.push([
      `  ${name}`,
      median === undefined ? '' : figure(median) + (unit ?? ''),
      median === undefined ? '' : `${figure(low)} .. ${figure(high)}`,
      target === undefined ? '' : `<= ${target}`,
      target === undefined ? '' : reached ? 'reached' : 'MISSED',
    ])
  }
  const widths = [54, 10, 20, 9, 0]
  return lines
    .map(cells => cells.map((cell, n) => (n === 1 || n === 2 ? cell.padStart(widths[n]) : cell.padEnd(widths[n]))))
    .map(cells => cells.join('  ').trimEnd())
    .join('\n')
}
