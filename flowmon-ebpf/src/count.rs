//! The exact totals, and the packets that belong to no flow.

use flowmon_common::{Counter, Direction, PacketSource as _, Traffic};

use crate::{
    maps::{COUNTERS, ENDPOINTS, TOTALS},
    packet::Skb,
};

/// Adds to an interface's totals. Plain additions: the row is this CPU's own, and tc programs do
/// not interrupt one another.
#[inline(always)]
pub(crate) fn total(slot: u16, direction: Direction, traffic: &Traffic, buffer_len: u32) {
    let Some(totals) = TOTALS.get_ptr_mut(slot.into()) else {
        return;
    };
    // SAFETY: a pointer into this CPU's row of the map.
    let (wire, buffers) = unsafe { &mut *totals }.way_mut(direction);
    wire.packets += traffic.packets;
    wire.bytes += traffic.bytes;
    buffers.packets += 1;
    buffers.bytes += u64::from(buffer_len);
}

/// Adds to one of the counters.
#[inline(always)]
pub(crate) fn count(counter: Counter, amount: u64) {
    if let Some(value) = COUNTERS.get_ptr_mut(counter as u32) {
        // SAFETY: a pointer into this CPU's row of the map.
        unsafe { *value += amount };
    }
}

/// This CPU's part of a counter.
#[inline(always)]
pub(crate) fn read(counter: Counter) -> u64 {
    COUNTERS.get(counter as u32).copied().unwrap_or(0)
}

/// A packet that belongs to no flow is in the totals all the same.
#[inline(never)]
pub(crate) fn unattributed(skb: &Skb<'_>, direction: Direction, traffic: &Traffic, cause: Counter) {
    // SAFETY: userspace removes an entry only after it detached the programs that read it.
    match unsafe { ENDPOINTS.get(skb.ifindex()) } {
        Some(endpoint) => {
            total(endpoint.slot, direction, traffic, skb.frame_len());
            count(cause, traffic.packets);
        }
        None => count(Counter::UnknownInterface, traffic.packets),
    }
}
