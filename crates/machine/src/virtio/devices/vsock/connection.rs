//! A stream as both sides know it: pure, without descriptors and without data. Packets of the guest and news of the host side go in, and
//! out comes what to tell the guest next. However many reasons there are to tell it something, they take no memory.
//!
//! A stream ends as section 5.10.6.5 has it: each side says SHUTDOWN for a direction it gives up, and RESET answers the last one.

use super::credit::Credit;
use super::packet::{Header, NO_RECEIVE, NO_SEND, Op};

/// What the guest is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// The host side wants a connection.
    Request,
    /// The host side accepts one.
    Response,
    /// The connection is over.
    Reset,
    /// Directions that the host side has given up, as flags.
    Shutdown(u32),
    /// How much may be sent.
    CreditUpdate,
    /// There is something for the guest, and no room.
    CreditRequest,
    /// At most so many bytes of data.
    Data(u32),
}

/// What a packet of the guest means for the host side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// The guest has accepted.
    Opened,
    /// The packet's bytes are for the host side.
    Data,
    /// A direction has ended: look at [`Connection::guest_sends`] and [`Connection::guest_receives`].
    Ended,
    /// The connection is over. When `orderly`, the guest has ended it, and what it sent before still counts.
    Over {
        /// The guest said that it would send no more.
        orderly: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The host side asks; `asked` when the guest knows.
    Requesting {
        asked: bool,
    },
    /// The host side has accepted, which the guest does not know yet.
    Accepting,
    Open,
    /// Over, which the guest does not know yet.
    Resetting,
    /// Over, and both know.
    Gone,
}

/// Which directions a side still uses.
#[derive(Clone, Copy, Debug)]
struct Side {
    sends: bool,
    receives: bool,
}

const BOTH: Side = Side { sends: true, receives: true };
const NONE: Side = Side { sends: false, receives: false };

/// One stream.
#[derive(Clone, Debug)]
pub struct Connection {
    phase: Phase,
    credit: Credit,
    guest: Side,
    host: Side,
    /// The flags of SHUTDOWN that the guest knows of.
    told: u32,
    /// The guest wants to know how much it may send.
    asked_for_credit: bool,
    /// The guest was asked how much it can take, and has not said anything since.
    waits_for_credit: bool,
}

impl Connection {
    fn new(phase: Phase) -> Self {
        Self {
            phase,
            credit: Credit::default(),
            guest: BOTH,
            host: BOTH,
            told: 0,
            asked_for_credit: false,
            waits_for_credit: false,
        }
    }

    /// The host side wants a connection.
    pub fn request() -> Self {
        Self::new(Phase::Requesting { asked: false })
    }

    /// The host side accepts the connection that this packet asks for.
    pub fn accept(request: &Header) -> Self {
        let mut connection = Self::new(Phase::Accepting);
        connection.credit.update(request.buf_alloc, request.fwd_cnt);
        connection
    }

    /// A packet of the guest.
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

    /// The host side has taken bytes that the guest sent.
    pub fn forwarded(&mut self, len: u32) {
        self.credit.forward(len);
    }

    /// The host side sends no more.
    pub fn host_ended(&mut self) {
        self.host.sends = false;
    }

    /// The host side takes no more. Nothing that the guest needs to know when it has ended that direction itself.
    pub fn host_deaf(&mut self) {
        self.host.receives &= !self.guest.sends;
    }

    /// The host side is no longer there.
    pub fn host_gone(&mut self) {
        match self.phase {
            Phase::Requesting { asked: false } => self.phase = Phase::Gone,
            Phase::Requesting { asked: true } => self.phase = Phase::Resetting,
            _ => self.host = NONE,
        }
    }

    /// The host side has failed: what was on its way is lost.
    pub fn host_failed(&mut self) {
        match self.phase {
            Phase::Gone => {}
            Phase::Requesting { asked: false } => self.phase = Phase::Gone,
            _ => self.phase = Phase::Resetting,
        }
    }

    /// What to tell the guest next. `readable`: the host side may have something to say.
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
                } else if shutdown != self.told {
                    Some(Message::Shutdown(shutdown))
                } else if self.asked_for_credit || self.credit.worth_telling() {
                    Some(Message::CreditUpdate)
                } else if data && !self.waits_for_credit {
                    Some(Message::CreditRequest)
                } else {
                    None
                }
            }
        }
    }

    /// The guest is being told this, with so many bytes of data: gives `fwd_cnt` for the packet.
    pub fn tell(&mut self, message: Message, len: u32) -> u32 {
        match message {
            Message::Request => self.phase = Phase::Requesting { asked: true },
            Message::Response => self.phase = Phase::Open,
            Message::Reset => self.phase = Phase::Gone,
            Message::Shutdown(flags) => self.told = flags,
            Message::CreditRequest => self.waits_for_credit = true,
            Message::Data(_) => self.credit.send(len),
            Message::CreditUpdate => {}
        }
        self.asked_for_credit = false;
        self.credit.tell()
    }

    /// Whether data of the guest may still come.
    pub const fn guest_sends(&self) -> bool {
        self.guest.sends
    }

    /// Whether the guest takes data.
    pub const fn guest_receives(&self) -> bool {
        self.guest.receives
    }

    /// Whether what the host side has to say may still reach the guest.
    pub const fn host_is_heard(&self) -> bool {
        self.host.sends && self.guest.receives
    }

    /// Whether the host side waits for the guest's answer.
    pub const fn is_requesting(&self) -> bool {
        matches!(self.phase, Phase::Requesting { .. })
    }

    /// Nobody knows of it any more.
    pub fn is_gone(&self) -> bool {
        self.phase == Phase::Gone
    }
}

#[cfg(test)]
mod tests;
