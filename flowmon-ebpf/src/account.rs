//! Every packet: find its flow, add it there and to the totals.

use aya_ebpf::programs::TcContext;
use flowmon_common::{
    Counter, Direction, FlowKey, FlowStats, Initiator, Link, PacketSource as _, Parsed, Refusal,
    Traffic,
    parse::{self, Fragment, Sender},
    tcp::Segment,
    wire::{ETHERNET_LEN, VLAN_TAG_LEN},
};

use crate::{
    atomic, clock, count, fragments, icmp,
    latency::{self, Timed},
    maps::FLOWS,
    open,
    packet::Skb,
    scratch,
};

/// Accounts for one socket buffer.
#[inline(always)]
pub(crate) fn packet(ctx: &TcContext, direction: Direction, link: Link) {
    let taken = match link {
        Link::Ethernet => common(ctx, direction),
        Link::Ip => false,
    };
    if !taken {
        uncommon(ctx, direction, link);
    }
}

/// The common packet. Out of line so that its stack is not under that of the uncommon one.
#[inline(never)]
fn common(ctx: &TcContext, direction: Direction) -> bool {
    let skb = Skb(ctx);
    let mut packet = Parsed::EMPTY;
    if parse::fast(&skb, &mut packet).is_none() {
        return false;
    }
    let key = FlowKey::new(skb.ifindex(), direction, &packet);
    attribute(&skb, &key, &packet, direction);
    true
}

/// Packets that the fast path does not take: out of line, so that they cost the others nothing.
#[inline(never)]
fn uncommon(ctx: &TcContext, direction: Direction, link: Link) {
    let skb = Skb(ctx);
    let Some(room) = scratch::packet() else {
        return;
    };
    let packet = room.write(Parsed::EMPTY);
    if let Err(refusal) = full(ctx, link, packet) {
        let traffic = Traffic::of_buffer(
            skb.frame_len(),
            skb.segments(),
            ETHERNET_LEN,
            untagged(&skb),
        );
        count::unattributed(&skb, direction, &traffic, Counter::from(refusal));
        return;
    }
    let mut key = FlowKey::new(skb.ifindex(), direction, packet);
    if !matches!(packet.fragment, Fragment::No) {
        fragments::resolve(packet, &mut key);
    }
    attribute(&skb, &key, packet, direction);
    if packet.icmp_error {
        icmp::note_error(ctx, packet, direction);
    }
}

/// Out of line once more: its stack is free again when the packet is accounted for.
#[inline(never)]
fn full(ctx: &TcContext, link: Link, packet: &mut Parsed) -> Result<(), Refusal> {
    parse::full(&Skb(ctx), link, packet)
}

#[inline(always)]
fn attribute(skb: &Skb<'_>, key: &FlowKey, packet: &Parsed, direction: Direction) {
    let seen = Seen {
        traffic: packet.traffic(skb.frame_len(), skb.segments(), untagged(skb)),
        buffer_len: skb.frame_len(),
        direction,
        sender: packet.sender,
        timed: Timed::of(packet),
        header_len: packet.header_len,
        segment: Segment::new(packet, segments(skb)),
    };
    match FLOWS.get_ptr_mut(key) {
        Some(flow) => {
            // SAFETY: a pointer to a live entry of the map.
            unsafe { add(flow, &seen) };
            // SAFETY: as above.
            latency::follow(skb.0, unsafe { &mut *flow }, &seen);
        }
        None => open::flow(skb.0, key, &seen),
    }
}

/// What a flow's entry takes from a packet. Small: it goes by the stack to functions out of line.
pub(crate) struct Seen {
    /// How much it is on the wire.
    pub(crate) traffic: Traffic,
    /// How long the buffer is.
    pub(crate) buffer_len: u32,
    /// Which way it goes.
    pub(crate) direction: Direction,
    /// What it says about who opened the flow.
    pub(crate) sender: Sender,
    /// What can be timed of it.
    pub(crate) timed: Timed,
    /// Where its payload starts.
    pub(crate) header_len: u32,
    /// Its TCP header, where it has one.
    pub(crate) segment: Segment,
}

/// Bytes of the tag that the device took out of each frame.
#[inline(always)]
fn untagged(skb: &Skb<'_>) -> u32 {
    match skb.vlan_tci() {
        Some(_) => VLAN_TAG_LEN,
        None => 0,
    }
}

#[inline(always)]
fn segments(skb: &Skb<'_>) -> u32 {
    match skb.segments() {
        0 => 1,
        segments => segments,
    }
}

/// Adds a packet to its flow and to the totals of the interface.
///
/// # Safety
///
/// `flow` points to an entry of `FLOWS`.
#[inline(always)]
pub(crate) unsafe fn add(flow: *mut FlowStats, seen: &Seen) {
    // SAFETY: the caller's; other CPUs write the same entry, so what must be exact is added
    // atomically below, and the rest is whole words of which the latest counts.
    let entry = unsafe { &mut *flow };
    entry.last_jiffies = clock::jiffies();
    if entry.initiator == Initiator::Unknown as u8 {
        match seen.sender {
            Sender::Opens => entry.initiator = Initiator::sender(seen.direction) as u8,
            Sender::Answers => entry.initiator = Initiator::sender(seen.direction.reversed()) as u8,
            Sender::Speaks | Sender::Continues => {}
        }
    }
    let slot = entry.slot;
    let half = entry.half_mut(seen.direction);
    if half.tcp_flags | seen.segment.flags != half.tcp_flags {
        half.tcp_flags |= seen.segment.flags;
    }
    // SAFETY: a field of the entry.
    unsafe { atomic::add(&raw mut half.traffic.packets, seen.traffic.packets) };
    // SAFETY: a field of the entry.
    unsafe { atomic::add(&raw mut half.traffic.bytes, seen.traffic.bytes) };
    count::total(slot, seen.direction, &seen.traffic, seen.buffer_len);
}
