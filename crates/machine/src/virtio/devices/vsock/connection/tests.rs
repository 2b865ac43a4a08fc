#![allow(clippy::unwrap_used)]

use super::super::credit::BUFFER;
use super::super::packet::{HOST_CID, STREAM};
use super::*;
use proptest::prelude::*;
use std::collections::VecDeque;

fn header(op: Op) -> Header {
    Header {
        src_cid: 3,
        dst_cid: HOST_CID,
        src_port: 1,
        dst_port: 2,
        len: 0,
        kind: STREAM,
        op,
        flags: 0,
        buf_alloc: 1 << 16,
        fwd_cnt: 0,
    }
}

fn open() -> Connection {
    let mut connection = Connection::accept(&header(Op::Request));
    assert_eq!(connection.next(true), Some(Message::Response));
    connection.record_sent(Message::Response, 0);
    connection
}

#[test]
fn test_a_request_of_the_host_waits_for_the_answer() {
    let mut connection = Connection::request();
    assert_eq!(connection.next(true), Some(Message::Request));
    connection.record_sent(Message::Request, 0);
    assert_eq!(connection.next(true), None);
    assert_eq!(connection.packet(&header(Op::Response)), Effect::Opened);
    assert_eq!(connection.next(true), Some(Message::Data(1 << 16)));
    assert_eq!(connection.next(false), None);
}

#[test]
fn test_a_refusal_is_not_answered() {
    let mut connection = Connection::request();
    connection.record_sent(Message::Request, 0);
    assert_eq!(connection.packet(&header(Op::Reset)), Effect::Over { orderly: false });
    assert!(connection.is_gone());
    assert_eq!(connection.next(true), None);
}

#[test]
fn test_an_answer_to_no_question_ends_the_connection() {
    for op in [Op::Response, Op::Request, Op::Other(9), Op::Other(0)] {
        let mut connection = open();
        assert_eq!(connection.packet(&header(op)), Effect::Over { orderly: false }, "{op:?}");
        assert_eq!(connection.next(true), Some(Message::Reset));
        // Only once.
        assert_eq!(connection.packet(&header(op)), Effect::None);
        connection.record_sent(Message::Reset, 0);
        assert!(connection.is_gone());
    }
    let mut connection = Connection::request();
    assert_eq!(connection.packet(&header(Op::Response)), Effect::Over { orderly: false });
}

#[test]
fn test_each_side_ends_its_own_direction() {
    let mut connection = open();
    connection.host_ended();
    assert_eq!(connection.next(false), Some(Message::Shutdown(NO_SEND)));
    connection.record_sent(Message::Shutdown(NO_SEND), 0);
    assert_eq!(connection.next(true), None);
    assert_eq!(connection.packet(&Header { len: 5, ..header(Op::Data) }), Effect::Data);
    assert_eq!(connection.packet(&Header { flags: NO_SEND, ..header(Op::Shutdown) }), Effect::Ended);
    assert!(!connection.guest_sends());
    // Data after the guest has closed its sending direction.
    assert_eq!(connection.packet(&Header { len: 5, ..header(Op::Data) }), Effect::Over { orderly: false });
}

#[test]
fn test_a_guest_that_closes_is_answered_by_a_reset() {
    let mut connection = open();
    assert_eq!(connection.packet(&Header { flags: NO_SEND, ..header(Op::Shutdown) }), Effect::Ended);
    let both = Header { flags: NO_RECEIVE | 0xff00, ..header(Op::Shutdown) };
    assert_eq!(connection.packet(&both), Effect::Over { orderly: true });
    assert_eq!(connection.next(true), Some(Message::Reset));
}

#[test]
fn test_credit_is_requested_once_and_reported_on_request() {
    let mut connection = Connection::accept(&Header { buf_alloc: 0, ..header(Op::Request) });
    connection.record_sent(Message::Response, 0);
    assert_eq!(connection.next(true), Some(Message::CreditRequest));
    connection.record_sent(Message::CreditRequest, 0);
    assert_eq!(connection.next(true), None);
    assert_eq!(connection.packet(&Header { buf_alloc: 7, ..header(Op::CreditRequest) }), Effect::None);
    assert_eq!(connection.next(true), Some(Message::Data(7)));
    assert_eq!(connection.next(false), Some(Message::CreditUpdate));
    connection.record_sent(Message::CreditUpdate, 0);
    assert_eq!(connection.next(false), None);
}

#[test]
fn test_a_closed_host_side_is_reported_once() {
    let mut connection = open();
    connection.host_gone();
    assert_eq!(connection.next(false), Some(Message::Shutdown(NO_SEND | NO_RECEIVE)));
    connection.record_sent(Message::Shutdown(NO_SEND | NO_RECEIVE), 0);
    assert_eq!(connection.next(true), None);
    assert_eq!(connection.packet(&header(Op::CreditUpdate)), Effect::None);
    assert_eq!(connection.packet(&header(Op::Reset)), Effect::Over { orderly: false });
    assert!(connection.is_gone());
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        1 => Just(Op::Request),
        1 => Just(Op::Response),
        1 => Just(Op::Reset),
        1 => Just(Op::Shutdown),
        8 => Just(Op::Data),
        4 => Just(Op::CreditUpdate),
        4 => Just(Op::CreditRequest),
        1 => any::<u16>().prop_map(Op::Other),
    ]
}

/// An event at a connection.
#[derive(Clone, Copy, Debug)]
enum Step {
    Packet { op: Op, len: u32, flags: u32, buf_alloc: u32, fwd_cnt: u32 },
    Forwarded(u32),
    Send { readable: bool, len: u32 },
    Ended,
    StoppedReceiving,
    Gone,
    Failed,
}

fn any_step() -> impl Strategy<Value = Step> {
    let packet = (any_op(), 0..BUFFER * 2, 0..8_u32, any::<u32>(), any::<u32>())
        .prop_map(|(op, len, flags, buf_alloc, fwd_cnt)| Step::Packet { op, len, flags, buf_alloc, fwd_cnt });
    prop_oneof![
        8 => packet,
        2 => any::<u32>().prop_map(Step::Forwarded),
        8 => (any::<bool>(), any::<u32>()).prop_map(|(readable, len)| Step::Send { readable, len }),
        1 => Just(Step::Ended),
        1 => Just(Step::StoppedReceiving),
        1 => Just(Step::Gone),
        1 => Just(Step::Failed),
    ]
}

proptest! {
    /// For any behaviour of guest and host: held data is bounded, the packets to the guest come to an end, and no packet follows a reset.
    #[test]
    fn test_no_guest_gets_more_than_its_credit(host_asks: bool, steps in prop::collection::vec(any_step(), 0..80)) {
        let mut connection = if host_asks { Connection::request() } else { Connection::accept(&header(Op::Request)) };
        for step in steps {
            let gone = connection.is_gone();
            match step {
                Step::Packet { op, len, flags, buf_alloc, fwd_cnt } => {
                    let packet = Header { len, flags, buf_alloc, fwd_cnt, ..header(op) };
                    let effect = connection.packet(&packet);
                    prop_assert!(!gone || effect == Effect::None);
                }
                Step::Forwarded(len) => connection.forwarded(len),
                Step::Send { readable, len } => {
                    if let Some(message) = connection.next(readable) {
                        prop_assert!(!gone);
                        let len = if let Message::Data(most) = message { len.min(most) } else { 0 };
                        connection.record_sent(message, len);
                    }
                }
                Step::Ended => connection.host_ended(),
                Step::StoppedReceiving => connection.host_stopped_receiving(),
                Step::Gone => connection.host_gone(),
                Step::Failed => connection.host_failed(),
            }
            prop_assert!(connection.credit.held() <= BUFFER);
            prop_assert!(!gone || connection.is_gone());
        }
        // Without new data or events, the packets come to an end: at most a request or response, a shutdown and a credit update.
        let mut packets = 0;
        while let Some(message) = connection.next(false) {
            connection.record_sent(message, 0);
            packets += 1;
            prop_assert!(packets <= 4);
        }
    }

    /// With a guest that follows the protocol, every byte arrives in both directions in any order of events, and both ends learn that the
    /// connection is over.
    #[test]
    fn test_streams_arrive_whole_and_end(
        to_guest in 0..300_000_u32,
        from_guest in 0..300_000_u32,
        room in 1..80_000_u32,
        order in prop::collection::vec((0..5_u8, 1..70_000_u32), 1..40),
    ) {
        let mut connection = Connection::accept(&Header { buf_alloc: room, ..header(Op::Request) });
        let mut guest = Guest { room, ..Guest::default() };
        let (mut unsent, mut unsent_by_guest, mut held) = (to_guest, from_guest, 0_u32);
        let mut wire = VecDeque::new();
        // Enough rounds for a guest with a small buffer, behind a full queue of credit requests.
        for &(what, amount) in order.iter().cycle().take(60_000) {
            match what {
                // The guest sends as much as its credit allows.
                0 => {
                    let len = amount.min(unsent_by_guest).min(guest.credit());
                    if guest.open && len > 0 {
                        unsent_by_guest -= len;
                        guest.sent = guest.sent.wrapping_add(len);
                        prop_assert_eq!(connection.packet(&guest.header(Op::Data, len)), Effect::Data);
                        held += len;
                    }
                    if guest.open && unsent_by_guest == 0 && !guest.ended {
                        guest.ended = true;
                        let end = Header { flags: NO_SEND, ..guest.header(Op::Shutdown, 0) };
                        prop_assert_eq!(connection.packet(&end), Effect::Ended);
                    }
                }
                // The host reads.
                1 => {
                    let len = amount.min(held);
                    held -= len;
                    connection.forwarded(len);
                }
                // The device has a turn and a receive buffer.
                2 if wire.len() == 8 => {}
                2 => {
                    if let Some(message) = connection.next(true) {
                        let len = if let Message::Data(most) = message { most.min(amount).min(unsent) } else { 0 };
                        if matches!(message, Message::Data(_)) && len == 0 {
                            connection.host_ended();
                        } else {
                            unsent -= len;
                            let fwd_cnt = connection.record_sent(message, len);
                            wire.push_back((message, len, fwd_cnt));
                        }
                    } else if unsent == 0 {
                        connection.host_ended();
                    }
                }
                // The guest's driver takes a packet.
                3 => if let Some((message, len, fwd_cnt)) = wire.pop_front() {
                    prop_assert!(guest.hear(message, len, fwd_cnt));
                    if message == Message::CreditRequest {
                        connection.packet(&guest.header(Op::CreditUpdate, 0));
                    }
                },
                // The program in the guest reads.
                _ => {
                    let len = amount.min(guest.buffered);
                    guest.buffered -= len;
                    guest.taken = guest.taken.wrapping_add(len);
                    if guest.open {
                        connection.packet(&guest.header(Op::CreditUpdate, 0));
                    }
                }
            }
        }
        let all = [0, 1, 2, 3, 4].iter().all(|step| order.iter().any(|(what, _)| what == step));
        // Only sequences in which every participant gets its turn, and that are long enough for transfers of single bytes.
        if all && order.iter().all(|(_, amount)| *amount > 1000) && room > 1000 {
            prop_assert_eq!((unsent, unsent_by_guest, held, guest.buffered), (0, 0, 0, 0));
            prop_assert_eq!((guest.received, guest.host_ended), (to_guest, true));
            let close = Header { flags: NO_SEND | NO_RECEIVE, ..guest.header(Op::Shutdown, 0) };
            prop_assert_eq!(connection.packet(&close), Effect::Over { orderly: true });
            prop_assert_eq!(connection.next(true), Some(Message::Reset));
        }
    }
}

/// The guest's side of the protocol, which counts its own buffers.
#[derive(Default)]
struct Guest {
    open: bool,
    ended: bool,
    host_ended: bool,
    room: u32,
    buffered: u32,
    taken: u32,
    received: u32,
    sent: u32,
    host_room: u32,
    host_taken: u32,
}

impl Guest {
    fn credit(&self) -> u32 {
        self.host_room - self.sent.wrapping_sub(self.host_taken)
    }

    fn header(&self, op: Op, len: u32) -> Header {
        Header { len, buf_alloc: self.room, fwd_cnt: self.taken, ..header(op) }
    }

    /// True if a guest's driver would accept the packet.
    fn hear(&mut self, message: Message, len: u32, fwd_cnt: u32) -> bool {
        (self.host_room, self.host_taken) = (BUFFER, fwd_cnt);
        self.buffered += len;
        self.received += len;
        match message {
            Message::Response => self.open = true,
            Message::Shutdown(NO_SEND) => self.host_ended = true,
            Message::Data(_) => return self.open && !self.host_ended && self.buffered <= self.room,
            Message::CreditUpdate | Message::CreditRequest => {}
            _ => return false,
        }
        true
    }
}
