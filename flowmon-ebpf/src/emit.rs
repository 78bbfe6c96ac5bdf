//! Telling userspace at once.

use aya_ebpf::maps::ring_buf::RingBufEntry;
use flowmon_common::{Counter, Direction, FlowKey, FlowStats, NewFlow};

use crate::{count::count, maps::EVENTS};

/// Announces a flow's entry. When the ring is full that is counted, and the next drain finds the
/// flow: nothing marks it as told.
#[inline(always)]
pub(crate) fn new_flow(key: &FlowKey, stats: &FlowStats, direction: Direction) {
    let Some(mut entry): Option<RingBufEntry<NewFlow>> = EVENTS.reserve(0) else {
        count(Counter::EventsLost, 1);
        return;
    };
    let half = stats.half(direction);
    entry.write(NewFlow {
        kind: NewFlow::KIND,
        direction: direction as u8,
        initiator: stats.initiator,
        tcp_flags: half.tcp_flags,
        packets: half.traffic.packets as u32,
        first_ns: stats.first_ns,
        bytes: half.traffic.bytes,
        key: *key,
        reserved: 0,
    });
    entry.submit(0);
}
