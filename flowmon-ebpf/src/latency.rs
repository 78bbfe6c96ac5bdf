//! How a flow goes, and how long its round trips take.

use core::hint::black_box;

use aya_ebpf::programs::TcContext;
use flowmon_common::{
    Direction, DirectionStats, FlowStats, Initiator, PacketSource as _, Parsed,
    latency::{Latencies, Side},
    probe::{self, Sample},
    tcp,
    wire::{DNS_PORT, protocol},
};

use crate::{account::Seen, atomic, clock, maps::LATENCIES, packet::Skb};

/// What a packet has that can be timed.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Timed {
    /// Nothing.
    No,
    /// A TCP header.
    Tcp,
    /// An ICMP request, named by its sequence number.
    Request,
    /// The reply to one.
    Reply,
    /// A DNS message.
    Dns,
}

impl Timed {
    #[inline(always)]
    pub(crate) fn of(packet: &Parsed) -> Self {
        use flowmon_common::parse::Sender::{Answers, Opens};
        match (packet.protocol, packet.sender) {
            (protocol::TCP, _) if packet.tcp_header => Self::Tcp,
            (protocol::ICMP | protocol::ICMPV6, Opens) => Self::Request,
            (protocol::ICMP | protocol::ICMPV6, Answers) => Self::Reply,
            (protocol::UDP, _)
                if packet.destination_port == DNS_PORT || packet.source_port == DNS_PORT =>
            {
                Self::Dns
            }
            _ => Self::No,
        }
    }
}

/// Begins to follow a flow with its first packet.
#[inline(always)]
pub(crate) fn begin(ctx: &TcContext, entry: &mut FlowStats, seen: &Seen) {
    let entry_ns = entry.first_ns;
    let (sender, _) = entry.halves_mut(seen.direction);
    match seen.timed {
        Timed::Tcp => tcp::begin(sender, &seen.segment, entry_ns),
        Timed::Request => probe::ask(sender, seen.segment.sequence, entry_ns),
        Timed::Dns => dns(ctx, entry, seen),
        Timed::Reply | Timed::No => {}
    }
}

/// Follows a packet in its flow's entry.
#[inline(always)]
pub(crate) fn follow(ctx: &TcContext, entry: &mut FlowStats, seen: &Seen) {
    if let Timed::No = seen.timed {
        return;
    }
    if let Timed::Dns = seen.timed {
        dns(ctx, entry, seen);
        return;
    }
    let slot = entry.slot;
    let (sender, receiver) = entry.halves_mut(seen.direction);
    let sample = if let Timed::Tcp = seen.timed {
        tcp::follow(sender, receiver, &seen.segment, clock::monotonic_ns)
    } else {
        exchange(
            sender,
            receiver,
            seen.segment.sequence,
            seen.timed == Timed::Reply,
        )
    };
    if let Some(sample) = sample {
        count(slot, seen.direction, sample);
    }
}

#[inline(always)]
fn exchange(
    sender: &mut DirectionStats,
    receiver: &mut DirectionStats,
    id: u32,
    is_answer: bool,
) -> Option<Sample> {
    let now = clock::monotonic_ns();
    if is_answer {
        return probe::answer(receiver, id, now);
    }
    probe::ask(sender, id, now);
    None
}

/// Identifier, response bit and response code of a DNS message (RFC 1035 4.1.1).
#[inline(never)]
fn dns(ctx: &TcContext, entry: &mut FlowStats, seen: &Seen) {
    let Some([id_high, id_low, flags, rcode]) = Skb(ctx).load(seen.header_len) else {
        return;
    };
    let is_answer = flags & 0x80 != 0;
    if is_answer {
        entry.dns_rcodes |= 1 << (rcode & 0xf);
    }
    // UDP has no opening, but a message tells whether it is a question.
    if entry.initiator == Initiator::Unknown as u8 {
        let asker = if is_answer {
            seen.direction.reversed()
        } else {
            seen.direction
        };
        entry.initiator = Initiator::sender(asker) as u8;
    }
    let id = u16::from_be_bytes([id_high, id_low]).into();
    let slot = entry.slot;
    let (sender, receiver) = entry.halves_mut(seen.direction);
    if let Some(sample) = exchange(sender, receiver, id, is_answer) {
        count(slot, seen.direction, sample);
    }
}

#[inline(always)]
fn count(slot: u16, direction: Direction, sample: Sample) {
    let Some(latencies) = LATENCIES.get_ptr_mut(slot.into()) else {
        return;
    };
    let bucket = Latencies::bucket(Side::answering(direction), sample);
    // It is in range by arithmetic, which the compiler can follow and the verifier can't.
    let bucket = black_box(bucket) & (Latencies::ALL_BUCKETS - 1);
    // SAFETY: inside the entry, which is an array of buckets.
    let bucket = unsafe { latencies.cast::<u64>().add(bucket) };
    // SAFETY: valid and aligned, as above.
    unsafe { atomic::add(bucket, 1) };
}
