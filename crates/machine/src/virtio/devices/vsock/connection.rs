//! The protocol state of one stream. Pure, without descriptors and data: packets of the guest and events of the host's end go in, and the
//! next packet for the guest comes out. Pending packets are flags, not a queue, so the state has a constant size.
//!
//! A stream ends as in section 5.10.6.5: each side sends SHUTDOWN for a direction that it closes, and RESET answers the last SHUTDOWN.

use super::credit::Credit;
use super::packet::{Header, NO_RECEIVE, NO_SEND, Op};

/// A packet that is due to the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// VIRTIO_VSOCK_OP_REQUEST: the host side connects.
    Request,
    /// VIRTIO_VSOCK_OP_RESPONSE: the host side has accepted a connection.
    Response,
    /// VIRTIO_VSOCK_OP_RST: the connection is over.
    Reset,
    /// VIRTIO_VSOCK_OP_SHUTDOWN: flags of the directions that the host side has closed.
    Shutdown(u32),
    /// VIRTIO_VSOCK_OP_CREDIT_UPDATE: how much the guest may send.
    CreditUpdate,
    /// VIRTIO_VSOCK_OP_CREDIT_REQUEST: the host side has data and the guest has no room.
    CreditRequest,
    /// VIRTIO_VSOCK_OP_RW: data, at most this many bytes.
    Data(u32),
}

/// The effect of a guest's packet on the host side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// No effect.
    None,
    /// The guest has accepted the connection.
    Opened,
    /// The packet's payload is for the host side.
    Data,
    /// The guest has closed a direction: see [`Connection::guest_sends`] and [`Connection::guest_receives`].
    Ended,
    /// The connection is over. If `orderly`, the guest has ended it, and data that the guest sent before is still delivered.
    Over {
        /// The guest had announced that it would send no more data.
        orderly: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The host side connects. `asked` is true once the request has been sent to the guest.
    Requesting {
        asked: bool,
    },
    /// The host side has accepted; the response has not been sent to the guest yet.
    Accepting,
    Open,
    /// The connection is over; the reset has not been sent to the guest yet.
    Resetting,
    /// The connection is over, for both sides.
    Gone,
}

/// The directions that a side still uses.
#[derive(Clone, Copy, Debug)]
struct Side {
    sends: bool,
    receives: bool,
}

const BOTH: Side = Side { sends: true, receives: true };
const NONE: Side = Side { sends: false, receives: false };

/// The protocol state of one stream.
#[derive(Clone, Debug)]
pub struct Connection {
    phase: Phase,
    credit: Credit,
    guest: Side,
    host: Side,
    /// The flags of the last SHUTDOWN that was sent to the guest.
    last_shutdown: u32,
    /// The guest has requested a credit update.
    asked_for_credit: bool,
    /// A credit request was sent to the guest, and no packet of the guest has arrived since.
    waits_for_credit: bool,
}

impl Connection {
    fn new(phase: Phase) -> Self {
        Self {
            phase,
            credit: Credit::default(),
            guest: BOTH,
            host: BOTH,
            last_shutdown: 0,
            asked_for_credit: false,
            waits_for_credit: false,
        }
    }

    /// Creates a connection that the host side requests.
    pub fn request() -> Self {
        Self::new(Phase::Requesting { asked: false })
    }

    /// Creates a connection that the guest requested with this packet and that the host side accepts.
    pub fn accept(request: &Header) -> Self {
        let mut connection = Self::new(Phase::Accepting);
        connection.credit.update(request.buf_alloc, request.fwd_cnt);
        connection
    }

    /// Processes a packet of the guest.
    pub fn packet(&mut self, header: &Header) -> Effect {
        match (self.phase, header.op) {
            (Phase::Gone, _) => return Effect::None,
            (_, Op::Reset) => {
                let over = self.phase == Phase::Resetting;
                self.phase = Phase::Gone;
                return if over { Effect::None } else { Effect::Over { orderly: !self.guest.sends } };
            }
            (Phase::Resetting, _) => return Effect::None,
            (Phase::Requesting { asked: true }, Op::Response) => {}
            (Phase::Requesting { .. } | Phase::Accepting, _) => return self.violation(),
            (Phase::Open, _) => {}
        }
        self.credit.update(header.buf_alloc, header.fwd_cnt);
        self.waits_for_credit = false;
        match header.op {
            Op::Response if self.phase != Phase::Open => {
                self.phase = Phase::Open;
                Effect::Opened
            }
            Op::Data if self.guest.sends && self.credit.receive(header.len) => Effect::Data,
            Op::Shutdown => self.shutdown(header.flags),
            Op::CreditUpdate => Effect::None,
            Op::CreditRequest => {
                self.asked_for_credit = true;
                Effect::None
            }
            _ => self.violation(),
        }
    }

    fn shutdown(&mut self, flags: u32) -> Effect {
        self.guest.receives &= flags & NO_RECEIVE == 0;
        self.guest.sends &= flags & NO_SEND == 0;
        if self.guest.sends || self.guest.receives {
            return Effect::Ended;
        }
        self.phase = Phase::Resetting;
        Effect::Over { orderly: true }
    }

    fn violation(&mut self) -> Effect {
        self.phase = Phase::Resetting;
        Effect::Over { orderly: false }
    }

    /// Records that the host side has taken bytes that the guest sent.
    pub fn forwarded(&mut self, len: u32) {
        self.credit.forward(len);
    }

    /// Records that the host side sends no more data.
    pub fn host_ended(&mut self) {
        self.host.sends = false;
    }

    /// Records that the host side receives no more data. This has no effect if the guest has closed that direction itself.
    pub fn host_stopped_receiving(&mut self) {
        self.host.receives &= !self.guest.sends;
    }

    /// Records that the host side has closed its end.
    pub fn host_gone(&mut self) {
        match self.phase {
            Phase::Requesting { asked: false } => self.phase = Phase::Gone,
            Phase::Requesting { asked: true } => self.phase = Phase::Resetting,
            _ => self.host = NONE,
        }
    }

    /// Records that the host side has failed: data in flight is lost.
    pub fn host_failed(&mut self) {
        match self.phase {
            Phase::Gone => {}
            Phase::Requesting { asked: false } => self.phase = Phase::Gone,
            _ => self.phase = Phase::Resetting,
        }
    }

    /// Returns the next packet for the guest. `readable` is true if the host side may have data.
    pub fn next(&self, readable: bool) -> Option<Message> {
        match self.phase {
            Phase::Requesting { asked: true } | Phase::Gone => None,
            Phase::Requesting { asked: false } => Some(Message::Request),
            Phase::Accepting => Some(Message::Response),
            Phase::Resetting => Some(Message::Reset),
            Phase::Open => {
                let data = readable && self.host.sends && self.guest.receives;
                let room = self.credit.for_host();
                let shutdown =
                    if self.host.receives { 0 } else { NO_RECEIVE } | if self.host.sends { 0 } else { NO_SEND };
                if data && room > 0 {
                    Some(Message::Data(room))
                } else if shutdown != self.last_shutdown {
                    Some(Message::Shutdown(shutdown))
                } else if self.asked_for_credit || self.credit.update_is_due() {
                    Some(Message::CreditUpdate)
                } else if data && !self.waits_for_credit {
                    Some(Message::CreditRequest)
                } else {
                    None
                }
            }
        }
    }

    /// Records that a packet is sent to the guest, with `len` bytes of data. Returns `fwd_cnt` for its header.
    pub fn record_sent(&mut self, message: Message, len: u32) -> u32 {
        match message {
            Message::Request => self.phase = Phase::Requesting { asked: true },
            Message::Response => self.phase = Phase::Open,
            Message::Reset => self.phase = Phase::Gone,
            Message::Shutdown(flags) => self.last_shutdown = flags,
            Message::CreditRequest => self.waits_for_credit = true,
            Message::Data(_) => self.credit.send(len),
            Message::CreditUpdate => {}
        }
        self.asked_for_credit = false;
        self.credit.advertise()
    }

    /// True while the guest may send data.
    pub const fn guest_sends(&self) -> bool {
        self.guest.sends
    }

    /// True while the guest receives data.
    pub const fn guest_receives(&self) -> bool {
        self.guest.receives
    }

    /// True while data of the host side can reach the guest.
    pub const fn host_data_reaches_guest(&self) -> bool {
        self.host.sends && self.guest.receives
    }

    /// True while the host side waits for the guest to accept or refuse.
    pub const fn is_requesting(&self) -> bool {
        matches!(self.phase, Phase::Requesting { .. })
    }

    /// True once the connection is over for both sides.
    pub fn is_gone(&self) -> bool {
        self.phase == Phase::Gone
    }
}

#[cfg(test)]
mod tests;
