//! The second opinion, from XDP: how much an endpoint sent, what was odd about it, whom it asked.

use aya_ebpf::programs::XdpContext;
use flowmon_common::{
    Address, Endpoint, Oddities, Oddity, Owned, PacketSource as _, Parsed, Refusal,
    hygiene::{self, names_sender},
    parse::{self, Link, Sender},
    sketch,
    wire::{ETHERNET_LEN, protocol},
    witness::{is_tagged, tag_bytes},
};

use crate::{
    atomic,
    frame::XdpFrame,
    maps::{ENDPOINTS, HYGIENE, OWNED, SCANS, TARGETS, WITNESSES},
    scratch,
};

/// Counts and judges one frame.
#[inline(always)]
pub(crate) fn frame(ctx: &XdpContext) {
    let ifindex = ctx.ingress_ifindex() as u32;
    // SAFETY: userspace removes an entry only after it detached the programs that read it.
    let Some(endpoint) = (unsafe { ENDPOINTS.get(ifindex) }) else {
        return;
    };
    count(&XdpFrame(ctx), endpoint.slot);
    if !common(ctx, ifindex, endpoint) {
        uncommon(ctx, ifindex, endpoint);
    }
}

/// Plain additions: the row is this CPU's own, and these programs do not interrupt one another.
#[inline(always)]
fn count(frame: &XdpFrame<'_, true>, slot: u16) {
    if let Some(witness) = WITNESSES.get_ptr_mut(slot.into()) {
        // SAFETY: a pointer into this CPU's row of the map.
        let witness = unsafe { &mut *witness };
        witness.seen.packets += 1;
        witness.seen.bytes += u64::from(frame.frame_len());
        if is_tagged(frame) {
            witness.tagged += 1;
        }
    }
}

/// As in `account.rs`: the two are out of line so that their stacks are not on top of each other.
#[inline(never)]
fn common(ctx: &XdpContext, ifindex: u32, endpoint: &Endpoint) -> bool {
    let frame = XdpFrame::<true>(ctx);
    let mut packet = Parsed::EMPTY;
    if parse::fast(&frame, &mut packet).is_none() {
        return false;
    }
    judge(&frame, ifindex, endpoint, ETHERNET_LEN, Ok(&packet));
    true
}

#[inline(never)]
fn uncommon(ctx: &XdpContext, ifindex: u32, endpoint: &Endpoint) {
    let Some(room) = scratch::packet() else {
        return;
    };
    let packet = room.write(Parsed::EMPTY);
    let parsed = full(ctx, packet).map(|()| &*packet);
    let frame = XdpFrame::<false>(ctx);
    let network = ETHERNET_LEN + tag_bytes(&frame);
    judge(&frame, ifindex, endpoint, network, parsed);
}

#[inline(never)]
fn full(ctx: &XdpContext, packet: &mut Parsed) -> Result<(), Refusal> {
    parse::full(&XdpFrame::<false>(ctx), Link::Ethernet, packet)
}

#[inline(always)]
fn judge<const FIXED: bool>(
    frame: &XdpFrame<'_, FIXED>,
    ifindex: u32,
    endpoint: &Endpoint,
    network: u32,
    parsed: Result<&Parsed, Refusal>,
) {
    let mut odd = hygiene::inspect(frame, network, parsed);
    if let Ok(packet) = parsed {
        odd.note(
            Oddity::SpoofedSource,
            is_spoofed(ifindex, endpoint, packet.l3, packet.source),
        );
        if packet.protocol == protocol::TCP && matches!(packet.sender, Sender::Opens) {
            asked(endpoint.slot, packet.destination, packet.destination_port);
        }
    }
    if !odd.is_empty() {
        note(endpoint.slot, odd);
    }
}

#[inline(always)]
fn is_spoofed(ifindex: u32, endpoint: &Endpoint, l3: u8, address: Address) -> bool {
    if endpoint.owned >> (l3 & 7) & 1 == 0 || !names_sender(l3, address) {
        return false;
    }
    // SAFETY: only whether there is an entry is asked.
    unsafe { OWNED.get(Owned { ifindex, address }) }.is_none()
}

#[inline(never)]
fn note(slot: u16, odd: Oddities) {
    let Some(row) = HYGIENE.get_ptr_mut(slot.into()) else {
        return;
    };
    // Of those it has not, none: a branch for each would be two to the tenth ways to verify.
    for (index, oddity) in Oddity::ALL.into_iter().enumerate() {
        // SAFETY: a pointer into the entry; the index is that of its array.
        let frames = unsafe { row.cast::<u64>().add(index) };
        // SAFETY: valid and aligned, as above.
        unsafe { atomic::add(frames, odd.has(oddity).into()) };
    }
}

/// A connection was asked for. Bits that two CPUs set at once in one word may be one bit: what
/// they make is an estimate anyway, and the row is in no CPU's way while targets repeat.
#[inline(always)]
fn asked(slot: u16, address: Address, port: u16) {
    if let Some(witness) = WITNESSES.get_ptr_mut(slot.into()) {
        // SAFETY: a pointer into this CPU's row of the map.
        unsafe { (*witness).syns += 1 };
    }
    let Some(scans) = SCANS.get(0) else {
        return;
    };
    let row = u32::from(slot) * 2 + (scans.generation & 1);
    let Some(targets) = TARGETS.get_ptr_mut(row) else {
        return;
    };
    let (level, bit) = sketch::place(scans.seed, address, port);
    // It is in range by arithmetic, which the compiler can follow and the verifier can't.
    let level = core::hint::black_box(level) & 15;
    // SAFETY: inside the entry, which is an array of 16 levels.
    let word = unsafe { targets.cast::<u64>().add(level) };
    // SAFETY: valid and aligned, as above.
    let before = unsafe { *word };
    if before & bit == 0 {
        // SAFETY: as above.
        unsafe { *word = before | bit };
    }
}
