//! The first packet of a flow.

use aya_ebpf::{bindings::BPF_NOEXIST, programs::TcContext};
use aya_log_ebpf::warn;
use flowmon_common::{Counter, Endpoint, FlowKey, FlowStats, Initiator, parse::Sender};

use crate::{
    account::{self, Seen},
    clock, count, emit, latency,
    maps::{ENDPOINTS, FLOWS},
    packet::Skb,
    scratch,
};

/// Makes the flow's entry, with its first packet in it.
#[inline(never)]
pub(crate) fn flow(ctx: &TcContext, key: &FlowKey, seen: &Seen) {
    // SAFETY: userspace removes an entry only after it detached the programs that read it.
    let Some(endpoint) = (unsafe { ENDPOINTS.get(key.ifindex) }) else {
        count::count(Counter::UnknownInterface, seen.traffic.packets);
        return;
    };
    let Some(room) = scratch::stats() else {
        return;
    };
    let stats = room.write(first(seen, endpoint));
    latency::begin(ctx, stats, seen);
    let stats = &*stats; // by reference: a copy would not fit the stack
    match FLOWS.insert(key, stats, BPF_NOEXIST.into()) {
        Ok(()) => {
            count::total(
                endpoint.slot,
                seen.direction,
                &seen.traffic,
                seen.buffer_len,
            );
            emit::new_flow(key, stats, seen.direction);
        }
        // Another CPU made the entry in the meantime, or there is no room for one.
        Err(errno) => match FLOWS.get_ptr_mut(key) {
            // SAFETY: a pointer to a live entry of the map.
            Some(flow) => unsafe { account::add(flow, seen) },
            None => refused(ctx, seen, errno),
        },
    }
}

#[inline(always)]
fn first(seen: &Seen, endpoint: &Endpoint) -> FlowStats {
    let now = clock::monotonic_ns();
    let mut stats = FlowStats {
        first_ns: now,
        last_jiffies: clock::jiffies(),
        initiator: initiator(seen, now, endpoint) as u8,
        slot: endpoint.slot,
        ..FlowStats::default()
    };
    let half = stats.half_mut(seen.direction);
    half.traffic = seen.traffic;
    half.tcp_flags = seen.segment.flags;
    stats
}

#[inline(always)]
fn initiator(seen: &Seen, now: u64, endpoint: &Endpoint) -> Initiator {
    match seen.sender {
        Sender::Opens => Initiator::sender(seen.direction),
        Sender::Answers => Initiator::sender(seen.direction.reversed()),
        Sender::Speaks if now >= endpoint.settled_ns => Initiator::sender(seen.direction),
        Sender::Speaks | Sender::Continues => Initiator::Unknown,
    }
}

/// Why is worth a message, but one for each CPU is enough.
#[inline(never)]
fn refused(ctx: &TcContext, seen: &Seen, errno: i32) {
    if count::read(Counter::MapFull) == 0 {
        warn!(ctx, "the flow map refused an entry: errno {}", -errno);
    }
    count::unattributed(&Skb(ctx), seen.direction, &seen.traffic, Counter::MapFull);
}
