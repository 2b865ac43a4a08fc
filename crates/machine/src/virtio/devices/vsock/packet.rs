//! The header of a packet (section 5.10.6). It is read from guest memory once, and its fields are not validated here.
//!
//! The driver chooses how a packet is laid out in descriptors (section 2.7.4.2; Linux spreads payloads over pages). The header is therefore
//! read from the chain's bytes and not from its first descriptor.

/// Size of a header in bytes.
pub const HEADER: usize = 44;
/// The CID of the host.
pub const HOST_CID: u64 = 2;
/// The packet type of streams.
pub const STREAM: u16 = 1;
/// SHUTDOWN: the sender will receive no more data.
pub const NO_RECEIVE: u32 = 1;
/// SHUTDOWN: the sender will send no more data.
pub const NO_SEND: u32 = 2;

/// The operation of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Requests a connection.
    Request,
    /// Accepts a connection.
    Response,
    /// Refuses a connection, or ends it at once.
    Reset,
    /// Closes one or both directions.
    Shutdown,
    /// Carries data.
    Data,
    /// Reports how much the sender can receive.
    CreditUpdate,
    /// Requests a credit update.
    CreditRequest,
    /// An operation that section 5.10.6 does not define.
    Other(u16),
}

impl Op {
    const KNOWN: [(u16, Self); 7] = [
        (1, Self::Request),
        (2, Self::Response),
        (3, Self::Reset),
        (4, Self::Shutdown),
        (5, Self::Data),
        (6, Self::CreditUpdate),
        (7, Self::CreditRequest),
    ];

    fn from_raw(raw: u16) -> Self {
        Self::KNOWN.iter().find(|(known, _)| *known == raw).map_or(Self::Other(raw), |(_, op)| *op)
    }

    fn to_raw(self) -> u16 {
        match self {
            Self::Other(raw) => raw,
            op => Self::KNOWN.iter().find(|(_, known)| *known == op).map_or(0, |(raw, _)| *raw),
        }
    }
}

/// The fields of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The sender's CID.
    pub src_cid: u64,
    /// The receiver's CID.
    pub dst_cid: u64,
    /// The sender's port.
    pub src_port: u32,
    /// The receiver's port.
    pub dst_port: u32,
    /// Length of the payload in bytes.
    pub len: u32,
    /// [`STREAM`], or a type that this device does not support.
    pub kind: u16,
    /// The operation.
    pub op: Op,
    /// Flags of SHUTDOWN: [`NO_RECEIVE`], [`NO_SEND`].
    pub flags: u32,
    /// Size of the sender's receive buffer in bytes.
    pub buf_alloc: u32,
    /// Bytes that the sender has taken out of its receive buffer so far, modulo 2^32.
    pub fwd_cnt: u32,
}

impl Header {
    /// Decodes a header from its layout in memory.
    pub fn from_bytes(bytes: &[u8; HEADER]) -> Self {
        let mut fields = Fields(bytes);
        Self {
            src_cid: u64::from_le_bytes(fields.take()),
            dst_cid: u64::from_le_bytes(fields.take()),
            src_port: u32::from_le_bytes(fields.take()),
            dst_port: u32::from_le_bytes(fields.take()),
            len: u32::from_le_bytes(fields.take()),
            kind: u16::from_le_bytes(fields.take()),
            op: Op::from_raw(u16::from_le_bytes(fields.take())),
            flags: u32::from_le_bytes(fields.take()),
            buf_alloc: u32::from_le_bytes(fields.take()),
            fwd_cnt: u32::from_le_bytes(fields.take()),
        }
    }

    /// Encodes a header in its layout in memory.
    pub fn to_bytes(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        let mut rest = bytes.as_mut_slice();
        for field in [
            self.src_cid.to_le_bytes().as_slice(),
            &self.dst_cid.to_le_bytes(),
            &self.src_port.to_le_bytes(),
            &self.dst_port.to_le_bytes(),
            &self.len.to_le_bytes(),
            &self.kind.to_le_bytes(),
            &self.op.to_raw().to_le_bytes(),
            &self.flags.to_le_bytes(),
            &self.buf_alloc.to_le_bytes(),
            &self.fwd_cnt.to_le_bytes(),
        ] {
            let (place, after) = rest.split_at_mut(field.len());
            place.copy_from_slice(field);
            rest = after;
        }
        bytes
    }
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut field = [0; N];
        let (taken, rest) = self.0.split_at(N.min(self.0.len()));
        field[..taken.len()].copy_from_slice(taken);
        self.0 = rest;
        field
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use virtio_bindings::bindings::virtio_ring::VRING_DESC_F_WRITE;
    use virtio_queue::desc::{RawDescriptor, split::Descriptor};
    use virtio_queue::mock::MockSplitQueue;
    use virtio_vsock::packet::VsockPacket;
    use vm_memory::{GuestAddress, GuestMemoryMmap};

    proptest! {
        #[test]
        fn test_a_header_is_what_virtio_vsock_reads(bytes in prop::collection::vec(any::<u8>(), HEADER)) {
            let bytes: [u8; HEADER] = bytes.try_into().unwrap();
            let header = Header::from_bytes(&bytes);
            prop_assert_eq!(header.to_bytes(), bytes);
            let memory = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), 0x4000)]).unwrap();
            let buffer = Descriptor::new(0x3000, 0x100, u16::try_from(VRING_DESC_F_WRITE).unwrap(), 0);
            let queue = MockSplitQueue::new(&memory, 16);
            let mut chain = queue.build_desc_chain(&[RawDescriptor::from(buffer)]).unwrap();
            let mut packet = VsockPacket::from_rx_virtq_chain(&memory, &mut chain, 0x100).unwrap();
            packet.set_header_from_raw(&bytes).unwrap();
            prop_assert_eq!(
                (header.src_cid, header.dst_cid, header.src_port, header.dst_port, header.len),
                (packet.src_cid(), packet.dst_cid(), packet.src_port(), packet.dst_port(), packet.len())
            );
            prop_assert_eq!(
                (header.kind, header.op.to_raw(), header.flags, header.buf_alloc, header.fwd_cnt),
                (packet.type_(), packet.op(), packet.flags(), packet.buf_alloc(), packet.fwd_cnt())
            );
        }
    }
}
