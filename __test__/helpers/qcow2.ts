// Empty qcow2 images, without qemu-img.

const CLUSTER = 1 << 16

/**
 * Returns the bytes of an empty image (version 3, clusters of 64 KiB) of a disk of `size` bytes, at
 * most 4 GiB.
 */
export function emptyQcow2(size: number): Buffer {
  // One cluster each for the header, the refcount table, the refcount block and the L1 table.
  const image = Buffer.alloc(4 * CLUSTER)
  image.write('QFI\xfb', 'latin1')
  image.writeUInt32BE(3, 4)
  image.writeUInt32BE(16, 20)
  image.writeBigUInt64BE(BigInt(size), 24)
  // An L1 entry refers to a cluster of 8192 L2 entries, each for one cluster.
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

/**
 * Returns the offset in the file of a byte of the disk, by the tables; `undefined` for an
 * unallocated cluster. For images of {@link emptyQcow2} and disks below 512 MiB.
 */
export function placeInQcow2(image: Buffer, offset: number): number | undefined {
  const entry = (at: number): number => Number(image.readBigUInt64BE(at) & 0x00ff_ffff_ffff_fe00n)
  const l2 = entry(3 * CLUSTER)
  const cluster = l2 === 0 ? 0 : entry(l2 + 8 * Math.floor(offset / CLUSTER))
  return cluster === 0 ? undefined : cluster + (offset % CLUSTER)
}
