//! Every packet: find its flow, add it there and to the totals.

use aya_ebpf::{helpers::bpf_ktime_get_ns, programs::TcContext};
use flowmon_common::{
    Counter, Direction, FlowKey, FlowStats, Initiator, Link, PacketSource as _, Parsed, Refusal,
    Traffic,
    parse::{self, Fragment, Sender},
    wire::{ETHERNET_LEN, VLAN_TAG_LEN},
};

use crate::{atomic, count, fragments, icmp, maps::FLOWS, open, packet::Skb, scratch};

/// Accounts for one socket buffer.
#[inline(always)]
pub(crate) fn packet(ctx: &TcContext, direction: Direction, link: Link) {
    let skb = Skb(ctx);
    let mut packet = Parsed::EMPTY;
    if let Link::Ethernet = link
        && parse::fast(&skb, &mut packet).is_some()
    {
        let key = FlowKey::new(skb.ifindex(), direction, &packet);
        attribute(&skb, &key, &packet, direction);
    } else {
        uncommon(ctx, direction, link);
    }
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
        let traffic = traffic(&skb, ETHERNET_LEN);
        count::unattributed(skb.ifindex(), direction, &traffic, Counter::from(refusal));
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
        traffic: traffic(skb, packet.header_len),
        direction,
        sender: packet.sender,
        tcp_flags: packet.tcp_flags,
    };
    match FLOWS.get_ptr_mut(key) {
        // SAFETY: a pointer to a live entry of the map.
        Some(flow) => unsafe { add(flow, &seen) },
        None => open::flow(skb.0, key, &seen),
    }
}

/// What a flow's entry takes from a packet. Small: it goes by the stack to functions out of line.
pub(crate) struct Seen {
    /// How much it is on the wire.
    pub(crate) traffic: Traffic,
    /// Which way it goes.
    pub(crate) direction: Direction,
    /// What it says about who opened the flow.
    pub(crate) sender: Sender,
    /// Its TCP flags.
    pub(crate) tcp_flags: u8,
}

/// Wire packets and bytes of the buffer, with the tag that the device took out put back.
#[inline(always)]
fn traffic(skb: &Skb<'_>, header_len: u32) -> Traffic {
    let untagged = if skb.vlan_tci().is_some() {
        VLAN_TAG_LEN
    } else {
        0
    };
    Traffic::of_buffer(skb.frame_len(), skb.segments(), header_len, untagged)
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
    // SAFETY: takes nothing, returns a number.
    entry.last_ns = unsafe { bpf_ktime_get_ns() };
    if entry.initiator == Initiator::Unknown as u8 {
        match seen.sender {
            Sender::Opens => entry.initiator = Initiator::sender(seen.direction) as u8,
            Sender::Answers => entry.initiator = Initiator::sender(seen.direction.reversed()) as u8,
            Sender::Speaks | Sender::Continues => {}
        }
    }
    let slot = entry.slot;
    let half = entry.half_mut(seen.direction);
    if half.tcp_flags | seen.tcp_flags != half.tcp_flags {
        half.tcp_flags |= seen.tcp_flags;
    }
    // SAFETY: a field of the entry.
    unsafe { atomic::add(&raw mut half.traffic.packets, seen.traffic.packets) };
    // SAFETY: a field of the entry.
    unsafe { atomic::add(&raw mut half.traffic.bytes, seen.traffic.bytes) };
    count::total(slot, seen.direction, &seen.traffic);
}
