//! What holds of any segments that two ends of a connection may send.

use flowmon_common::{
    DirectionStats,
    probe::{Sample, UNIT_NS},
    tcp::{Segment, begin, follow},
};

/// Bytes that make one segment.
const STEP: usize = 16;

/// Follows a connection of as many segments as `bytes` make.
pub(crate) fn check(bytes: &[u8]) {
    let mut client = DirectionStats::default();
    let mut server = DirectionStats::default();
    let mut now_ns = 0;
    let (steps, _) = bytes.as_chunks::<STEP>();
    for (segments_before, step) in (0u32..).zip(steps) {
        let (sender, receiver) = match step[0] & 1 {
            0 => (&mut client, &mut server),
            _ => (&mut server, &mut client),
        };
        let (sender_before, receiver_before) = (*sender, *receiver);
        now_ns += u64::from(u16::from_le_bytes([step[1], step[2]])) << (step[3] % 16);
        let segment = segment(step, sender, receiver);
        let sample = follow(sender, receiver, &segment, || now_ns);
        check_sender(&sender_before, sender, &segment);
        check_receiver(&receiver_before, receiver, sample, now_ns);
        assert!(
            receiver.rtt_samples <= segments_before,
            "more samples than questions"
        );
        if sender_before == DirectionStats::default() {
            let mut begun = sender_before;
            begin(&mut begun, &segment, now_ns);
            assert_eq!(begun, *sender, "to begin is to follow from nothing");
        }
    }
}

/// Numbers near what the other end expects reach more than random ones do.
fn segment(step: &[u8; STEP], sender: &DirectionStats, receiver: &DirectionStats) -> Segment {
    let [kind, .., flags, packets, w0, w1, l0, l1] = *step;
    let [_, _, _, _, s0, s1, a0, a1, ..] = *step;
    let near = |offset: [u8; 2], expected: u32, absolute: bool| {
        let offset = u32::from(u16::from_le_bytes(offset));
        if absolute {
            offset << 16 | offset
        } else {
            expected.wrapping_add(offset).wrapping_sub(1 << 12)
        }
    };
    Segment {
        sequence: near([s0, s1], sender.next_sequence, kind & 2 != 0),
        acknowledgement: near([a0, a1], receiver.next_sequence, kind & 4 != 0),
        payload_len: u16::from_le_bytes([l0, l1]).into(),
        packets: packets.into(),
        window: u16::from_le_bytes([w0, w1]),
        flags,
    }
}

fn check_sender(before: &DirectionStats, after: &DirectionStats, segment: &Segment) {
    let more = after.retransmits - before.retransmits;
    assert!(more == 0 || more == segment.packets);
    assert!(after.gaps - before.gaps <= 1);
    let zero = after.zero_windows - before.zero_windows;
    assert!(zero <= u16::from(segment.window == 0));
    let untouched = DirectionStats {
        retransmits: before.retransmits,
        gaps: before.gaps,
        zero_windows: before.zero_windows,
        next_sequence: before.next_sequence,
        probe: before.probe,
        ..*after
    };
    assert_eq!(untouched, *before, "changes more of the sender than it may");
}

fn check_receiver(
    before: &DirectionStats,
    after: &DirectionStats,
    sample: Option<Sample>,
    now_ns: u64,
) {
    let Some(sample) = sample else {
        assert_eq!(after, before, "no sample, and yet a change");
        return;
    };
    assert_eq!(after.rtt_samples, before.rtt_samples + 1);
    assert_eq!(after.rtt_sum, before.rtt_sum + u64::from(sample.rtt));
    assert_eq!((after.rtt_last, after.probe), (sample.rtt, 0));
    assert!((after.rtt_min..=after.rtt_max).contains(&after.rtt_last));
    let samples = u64::from(after.rtt_samples);
    let least = u64::from(after.rtt_min) * samples;
    let most = u64::from(after.rtt_max) * samples;
    assert!((least..=most).contains(&after.rtt_sum));
    assert!(
        u64::from(sample.rtt) * UNIT_NS <= now_ns,
        "longer than it all took"
    );
    if sample.handshake {
        assert_eq!(after.rtt_handshake, sample.rtt);
    } else {
        assert_eq!(after.rtt_handshake, before.rtt_handshake);
    }
}
