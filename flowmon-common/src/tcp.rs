//! How a TCP connection goes, one segment at a time: round-trip times by a single outstanding probe
//! for each direction, retransmissions, gaps, zero windows.
//!
//! A segment with new data arms its direction's probe with the acknowledgement that will cover it;
//! the acknowledgement, coming the other way, takes the sample. What is sent again disarms it: no one
//! can tell which copy an acknowledgement is for (Karn's algorithm, RFC 6298 3).

use crate::{
    parse::Parsed,
    probe::{Probe, Sample, record},
    stats::DirectionStats,
    wire::tcp::{ACK, FIN, RST, SYN},
};

/// What following a segment needs of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Sequence number of its first byte.
    pub sequence: u32,
    /// Acknowledgement number, when `flags` has ACK.
    pub acknowledgement: u32,
    /// Bytes of data.
    pub payload_len: u32,
    /// Wire packets it stands for.
    pub packets: u32,
    /// Advertised window, not scaled.
    pub window: u16,
    /// TCP flags.
    pub flags: u8,
}

impl Segment {
    /// Of a packet with its TCP header at hand.
    #[inline(always)]
    pub const fn new(packet: &Parsed, packets: u32) -> Self {
        Self {
            sequence: packet.sequence,
            acknowledgement: packet.acknowledgement,
            payload_len: packet.payload_len,
            packets,
            window: packet.window,
            flags: packet.tcp_flags,
        }
    }

    /// Sequence space it takes: SYN and FIN count as a byte each (RFC 9293 3.4).
    #[inline(always)]
    const fn length(&self) -> u32 {
        self.payload_len + (self.flags & SYN != 0) as u32 + (self.flags & FIN != 0) as u32
    }
}

/// Is `a` before `b` in sequence space (RFC 9293 3.4)?
#[inline(always)]
const fn before(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed() < 0
}

/// Does this acknowledgement cover what the probe is for?
#[inline(always)]
const fn reached(probe: &Probe, acknowledgement: u32) -> bool {
    probe.is_armed() && !before(acknowledgement, probe.awaited())
}

/// Follows a segment that `sender` sent to `receiver`; a sample is one of `receiver`'s packets, which
/// the segment acknowledges. `now` is asked only when it is needed.
#[inline(always)]
pub fn follow(
    sender: &mut DirectionStats,
    receiver: &mut DirectionStats,
    segment: &Segment,
    mut now: impl FnMut() -> u64,
) -> Option<Sample> {
    if segment.window == 0 && segment.flags & RST == 0 {
        sender.zero_windows = sender.zero_windows.saturating_add(1);
    }
    if segment.length() > 0 {
        advance(sender, segment, &mut now);
    }
    if segment.flags & ACK != 0 {
        acknowledge(receiver, segment, now)
    } else {
        None
    }
}

/// Begins to follow a connection with the first segment that is seen of it, which `sender` sent.
#[inline(always)]
pub const fn begin(sender: &mut DirectionStats, segment: &Segment, now_ns: u64) {
    if segment.window == 0 && segment.flags & RST == 0 {
        sender.zero_windows = 1;
    }
    if segment.length() > 0 {
        let end = segment.sequence.wrapping_add(segment.length());
        sender.next_sequence = end;
        sender.probe = Probe::arm(end, now_ns, segment.flags & SYN != 0);
    }
}

#[inline(always)]
fn advance(sender: &mut DirectionStats, segment: &Segment, now: &mut impl FnMut() -> u64) {
    let end = segment.sequence.wrapping_add(segment.length());
    let next = sender.next_sequence;
    let opens = segment.flags & SYN != 0;
    let known = next != 0;
    let again = known && before(segment.sequence, next);
    if opens && !(known && end == next) {
        // The first SYN, or that of a connection which uses these ports anew.
        sender.next_sequence = end;
        sender.probe = Probe::arm(end, now(), true);
        return;
    }
    if again {
        // A keep-alive repeats the last byte on purpose (RFC 9293 3.8.4).
        let is_keep_alive = segment.flags & (SYN | FIN) == 0
            && segment.payload_len == 1
            && segment.sequence.wrapping_add(1) == next;
        if !is_keep_alive {
            sender.retransmits = sender.retransmits.wrapping_add(segment.packets);
            if !reached(&Probe(sender.probe), segment.sequence) {
                sender.probe = 0;
            }
        }
        if before(next, end) {
            sender.next_sequence = end;
        }
        return;
    }
    if known && segment.sequence != next {
        sender.gaps = sender.gaps.wrapping_add(1);
    }
    sender.next_sequence = end;
    if sender.probe == 0 {
        sender.probe = Probe::arm(end, now(), false);
    }
}

#[inline(always)]
fn acknowledge(
    receiver: &mut DirectionStats,
    segment: &Segment,
    mut now: impl FnMut() -> u64,
) -> Option<Sample> {
    let probe = Probe(receiver.probe);
    if !reached(&probe, segment.acknowledgement) {
        return None;
    }
    receiver.probe = 0;
    let mut sample = probe.sample(now());
    // A refusal takes a round trip too, but shakes no hands.
    sample.handshake &= segment.flags & RST == 0;
    record(receiver, sample);
    Some(sample)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::UNIT_NS;

    /// A connection seen from the middle, at a given time.
    #[derive(Default)]
    struct Tap {
        client: DirectionStats,
        server: DirectionStats,
        now_ns: u64,
    }

    impl Tap {
        fn at(&mut self, microseconds: u64) -> &mut Self {
            self.now_ns = microseconds * 1000;
            self
        }

        fn client(&mut self, segment: Segment) -> Option<Sample> {
            let now = self.now_ns;
            follow(&mut self.client, &mut self.server, &segment, || now)
        }

        fn server(&mut self, segment: Segment) -> Option<Sample> {
            let now = self.now_ns;
            follow(&mut self.server, &mut self.client, &segment, || now)
        }
    }

    const fn segment(flags: u8, sequence: u32, acknowledgement: u32, payload_len: u32) -> Segment {
        Segment {
            sequence,
            acknowledgement,
            payload_len,
            packets: 1,
            window: 500,
            flags,
        }
    }

    fn microseconds(sample: Option<Sample>) -> Option<(u64, bool)> {
        sample.map(|sample| (u64::from(sample.rtt) * UNIT_NS / 1000, sample.handshake))
    }

    /// A handshake: 100 µs on the server's side, 20 µs on the client's.
    fn connected() -> Tap {
        let mut tap = Tap::default();
        assert_eq!(tap.at(1000).client(segment(SYN, 99, 0, 0)), None);
        let network = tap.at(1100).server(segment(SYN | ACK, 499, 100, 0));
        assert_eq!(microseconds(network), Some((99, true)));
        let client = tap.at(1120).client(segment(ACK, 100, 500, 0));
        assert_eq!(microseconds(client), Some((19, true)));
        tap
    }

    #[test]
    fn a_handshake_is_timed_on_both_sides() {
        let tap = connected();
        assert_eq!((tap.client.rtt_samples, tap.server.rtt_samples), (1, 1));
        assert!(tap.client.rtt_handshake > tap.server.rtt_handshake);
    }

    #[test]
    fn data_is_timed_by_the_acknowledgement_that_covers_it() {
        let mut tap = connected();
        tap.at(2000).client(segment(ACK, 100, 500, 1000));
        assert_eq!(
            tap.at(2010).server(segment(ACK, 500, 600, 0)),
            None,
            "covers half of it"
        );
        let sample = tap.at(2050).server(segment(ACK, 500, 1100, 0));
        assert_eq!(microseconds(sample), Some((49, false)));
        assert_eq!(
            tap.at(2060).server(segment(ACK, 500, 1100, 0)),
            None,
            "once is enough"
        );
    }

    #[test]
    fn what_is_sent_again_is_counted_and_times_nothing() {
        let mut tap = connected();
        tap.at(2000).client(segment(ACK, 100, 500, 1000));
        tap.at(3000).client(segment(ACK, 100, 500, 1000));
        assert_eq!(tap.at(3050).server(segment(ACK, 500, 1100, 0)), None);
        assert_eq!(tap.client.retransmits, 1);
        assert_eq!(tap.client.gaps, 0);
    }

    #[test]
    fn a_super_segment_sent_again_counts_as_its_segments() {
        let mut tap = connected();
        let data = Segment {
            packets: 7,
            ..segment(ACK, 100, 500, 7000)
        };
        tap.client(data);
        tap.client(data);
        assert_eq!(tap.client.retransmits, 7);
    }

    #[test]
    fn a_lost_syn_is_a_retransmission_and_spoils_the_handshake() {
        let mut tap = Tap::default();
        tap.at(0).client(segment(SYN, 99, 0, 0));
        tap.at(1_000_000).client(segment(SYN, 99, 0, 0));
        assert_eq!(
            tap.at(1_000_100).server(segment(SYN | ACK, 499, 100, 0)),
            None
        );
        tap.at(1_000_200).client(segment(ACK, 100, 500, 10));
        tap.at(1_000_300).server(segment(ACK, 500, 110, 0));
        assert_eq!((tap.client.retransmits, tap.client.rtt_handshake), (1, 0));
        assert_eq!(tap.client.rtt_samples, 1);
    }

    #[test]
    fn a_keep_alive_is_no_retransmission() {
        let mut tap = connected();
        tap.client(segment(ACK, 100, 500, 1000));
        tap.client(segment(ACK, 1099, 500, 0));
        tap.client(segment(ACK, 1099, 500, 1));
        assert_eq!(tap.client.retransmits, 0);
    }

    #[test]
    fn a_jump_ahead_is_a_gap_and_its_filling_a_retransmission() {
        let mut tap = connected();
        tap.client(segment(ACK, 100, 500, 1000));
        tap.client(segment(ACK, 2100, 500, 1000));
        tap.client(segment(ACK, 1100, 500, 1000));
        assert_eq!((tap.client.gaps, tap.client.retransmits), (1, 1));
        assert_eq!(tap.client.next_sequence, 3100);
    }

    #[test]
    fn beginning_is_following_what_nothing_is_known_of() {
        for flags in [SYN, SYN | ACK, ACK, FIN | ACK, RST] {
            for (payload_len, window) in [(0, 500), (0, 0), (100, 500)] {
                let segment = Segment {
                    window,
                    ..segment(flags, 99, 7, payload_len)
                };
                let mut tap = Tap::default();
                assert_eq!(tap.at(5).client(segment), None);
                let mut begun = DirectionStats::default();
                begin(&mut begun, &segment, 5000);
                assert_eq!(begun, tap.client);
            }
        }
    }

    #[test]
    fn a_refusal_is_timed_but_is_no_handshake() {
        let mut tap = Tap::default();
        tap.at(0).client(segment(SYN, 99, 0, 0));
        let sample = tap.at(50).server(segment(RST | ACK, 0, 100, 0));
        assert_eq!(microseconds(sample), Some((49, false)));
    }

    #[test]
    fn sequence_numbers_wrap() {
        let mut tap = Tap::default();
        tap.at(1).client(segment(SYN, u32::MAX - 1, 0, 0));
        tap.at(2).server(segment(SYN | ACK, 5, u32::MAX, 0));
        tap.at(10).client(segment(ACK, u32::MAX, 6, 100));
        let sample = tap.at(30).server(segment(ACK, 6, 99, 0));
        assert!(sample.is_some());
        assert_eq!((tap.client.gaps, tap.client.retransmits), (0, 0));
    }

    #[test]
    fn a_zero_window_is_one_unless_the_connection_is_broken_off() {
        let mut tap = connected();
        tap.server(Segment {
            window: 0,
            ..segment(ACK, 500, 100, 0)
        });
        tap.server(Segment {
            window: 0,
            ..segment(RST | ACK, 500, 100, 0)
        });
        assert_eq!(tap.server.zero_windows, 1);
    }

    #[test]
    fn the_end_takes_a_byte_of_its_own() {
        let mut tap = connected();
        tap.at(10).client(segment(FIN | ACK, 100, 500, 0));
        assert!(tap.at(20).server(segment(ACK, 500, 101, 0)).is_some());
        tap.client(segment(FIN | ACK, 100, 500, 0));
        assert_eq!(tap.client.retransmits, 1);
    }

    #[test]
    fn a_connection_under_way_has_no_handshake() {
        let mut tap = Tap::default();
        tap.at(0).client(segment(ACK, 700, 900, 50));
        let sample = tap.at(30).server(segment(ACK, 900, 750, 0));
        assert_eq!(sample.map(|sample| sample.handshake), Some(false));
        assert_eq!((tap.client.rtt_handshake, tap.client.gaps), (0, 0));
    }

    #[test]
    fn ports_used_anew_start_afresh() {
        let mut tap = connected();
        tap.at(5000).client(segment(SYN, 70_000, 0, 0));
        let sample = tap.at(5040).server(segment(SYN | ACK, 90_000, 70_001, 0));
        assert_eq!(microseconds(sample), Some((39, true)));
        assert_eq!(
            (
                tap.client.retransmits,
                tap.client.gaps,
                tap.server.retransmits
            ),
            (0, 0, 0)
        );
    }
}
