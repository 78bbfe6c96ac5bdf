//! What a GSO buffer counts for is what its segments are on the wire.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

#[path = "support/built.rs"]
#[expect(dead_code, reason = "here only the bytes count")]
mod built;
#[path = "support/plan.rs"]
#[expect(dead_code, reason = "here nothing goes back")]
mod plan;

use flowmon_common::{Frame, Link, Traffic, parse};
use plan::{Plan, Transport, plans};
use proptest::prelude::*;

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 1000,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// The frames that the buffer `whole` leaves as: each has all the headers and up to `mss` bytes
/// of the payload (Linux `skb_segment`, also for UDP with `UDP_SEGMENT`).
fn on_the_wire(whole: &Plan, mss: usize, untagged: u32) -> Traffic {
    let mut traffic = Traffic::default();
    let mut left = whole.payload;
    loop {
        let payload = left.min(mss);
        left -= payload;
        let segment = Plan {
            payload,
            ..whole.clone()
        };
        traffic.packets += 1;
        traffic.bytes += segment.build().bytes.len() as u64 + u64::from(untagged);
        if left == 0 {
            return traffic;
        }
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_buffer_counts_as_the_segments_it_leaves_as(
        plan in plans().prop_filter("only TCP and UDP are segmented", |plan| {
            !matches!(plan.transport, Transport::Echo { .. })
        }),
        payload in 0..60_000usize,
        mss in 500..9000usize,
        untagged in prop_oneof![Just(0u32), Just(4)],
    ) {
        let whole = Plan { payload, padding: 0, ..plan };
        let built = whole.build();
        let packet = parse(&Frame::ethernet(&built.bytes), Link::Ethernet).unwrap();
        let len = u32::try_from(built.bytes.len()).unwrap();
        // The kernel leaves gso_segs 0 in a buffer that is one frame.
        let segments = u32::try_from(payload.div_ceil(mss)).unwrap();
        let segments = if segments < 2 { 0 } else { segments };
        let found = Traffic::of_buffer(len, segments, packet.header_len, untagged);
        prop_assert_eq!(found, on_the_wire(&whole, mss, untagged));
    }

    #[test]
    fn no_buffer_overflows_the_sum(
        len in any::<u32>(),
        segments in any::<u32>(),
        header_len in any::<u32>(),
        untagged in prop_oneof![Just(0u32), Just(4)],
    ) {
        let traffic = Traffic::of_buffer(len, segments, header_len, untagged);
        prop_assert!(traffic.packets >= 1 && traffic.bytes >= u64::from(len));
    }
}
