// Empty qcow2 images, without qemu-img.

const CLUSTER = 1 << 16

/** The bytes of an empty image (version 3, clusters of 64 KiB) of a disk of `size` bytes, at most 4 GiB. */
export function emptyQcow2(size: number): Buffer {
  // One cluster each: header, refcount table, refcount block, L1 table.
  const image = Buffer.alloc(4 * CLUSTER)
  image.write('QFI\xfb', 'latin1')
  image.writeUInt32BE(3, 4)
  image.writeUInt32BE(16, 20)
  image.writeBigUInt64BE(BigInt(size), 24)
  // An entry of L1 is a cluster of 8192 entries, each for a cluster.
  image.writeUInt32BE(Math.ceil(size / (CLUSTER * 8192)), 36)
  image.writeBigUInt64BE(BigInt(3 * CLUSTER), 40)
  image.writeBigUInt64BE(BigInt(CLUSTER), 48)
  image.writeUInt32BE(1, 56)
  image.writeUInt32BE(4, 96)
  image.writeUInt32BE(104, 100)
  image.writeBigUInt64BE(BigInt(2 * CLUSTER), CLUSTER)
  for (let cluster = 0; cluster < 4; cluster++) image.writeUInt16BE(1, 2 * CLUSTER + 2 * cluster)
  return image
}

/** A byte's place in the file, by the tables; `undefined` where nothing was written. For images made by {@link emptyQcow2} and disks below 512 MiB. */
export function placeInQcow2(image: Buffer, offset: number): number | undefined {
  const entry = (at: number): number => Number(image.readBigUInt64BE(at) & 0x00ff_ffff_ffff_fe00n)
  const l2 = entry(3 * CLUSTER)
  const cluster = l2 === 0 ? 0 : entry(l2 + 8 * Math.floor(offset / CLUSTER))
  return cluster === 0 ? undefined : cluster + (offset % CLUSTER)
}
