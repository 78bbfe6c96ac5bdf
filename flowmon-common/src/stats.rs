//! What is known of one flow.

use crate::{abi::abi, key::Direction};

/// Who opened a flow, as stored in [`FlowStats::initiator`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Initiator {
    /// It was under way when first seen.
    Unknown = 0,
    /// The endpoint: an egress flow.
    Local = 1,
    /// The peer: an ingress flow.
    Remote = 2,
}

impl Initiator {
    /// The side that sends packets going `direction`.
    #[inline(always)]
    pub const fn sender(direction: Direction) -> Self {
        match direction {
            Direction::Tx => Self::Local,
            Direction::Rx => Self::Remote,
        }
    }

    /// From its stored form; a value no version wrote reads as unknown.
    pub const fn from_abi(value: u8) -> Self {
        match value {
            1 => Self::Local,
            2 => Self::Remote,
            _ => Self::Unknown,
        }
    }
}

/// An amount of traffic as it crossed the wire: a GSO super-packet counts as its segments.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Frames.
    pub packets: u64,
    /// Bytes, link-layer header and VLAN tags included, preamble and checksum not.
    pub bytes: u64,
}
abi!(Traffic, size = 16, align = 8);

impl core::ops::AddAssign for Traffic {
    fn add_assign(&mut self, other: Self) {
        self.packets = self.packets.wrapping_add(other.packets);
        self.bytes = self.bytes.wrapping_add(other.bytes);
    }
}

impl Traffic {
    /// What one socket buffer of `len` bytes is on the wire, when it stands for `segments` frames
    /// which each carry `header_len` bytes of headers of their own, and when `untagged` bytes of
    /// VLAN tag were taken out of each.
    ///
    /// Exact for TCP and UDP segmentation: the first segment's headers are in `len` already.
    #[inline(always)]
    pub fn of_buffer(len: u32, segments: u32, header_len: u32, untagged: u32) -> Self {
        let segments = if segments == 0 {
            1
        } else {
            u64::from(segments)
        };
        Self {
            packets: segments,
            bytes: u64::from(len)
                + (segments - 1) * u64::from(header_len)
                + segments * u64::from(untagged),
        }
    }
}

/// One direction of a flow. Counters are cumulative since the flow's `first_ns`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DirectionStats {
    /// What was sent this way.
    pub traffic: Traffic,
    /// The outstanding round-trip probe: expected acknowledgement `<< 32 |` time sent; 0 = none.
    pub probe: u64,
    /// Sum of round-trip samples, in units of 256 ns.
    pub rtt_sum: u64,
    /// Latest round-trip sample, in units of 256 ns.
    pub rtt_last: u32,
    /// Smallest sample.
    pub rtt_min: u32,
    /// Largest sample.
    pub rtt_max: u32,
    /// Number of samples.
    pub rtt_samples: u32,
    /// The handshake's sample.
    pub rtt_handshake: u32,
    /// Sequence number after the last byte seen.
    pub next_sequence: u32,
    /// Segments sent again.
    pub retransmits: u32,
    /// Times the sequence jumped ahead: loss or reordering before this point.
    pub gaps: u32,
    /// Zero-window advertisements.
    pub zero_windows: u16,
    /// ICMP errors that came back for packets sent this way.
    pub icmp_errors: u16,
    /// Questions sent this way that were timed and had no answer within [`crate::probe::PATIENCE_NS`],
    /// apart from the one that is still awaited.
    pub unanswered: u16,
    /// All TCP flags seen, or-ed.
    pub tcp_flags: u8,
    /// Named padding.
    pub reserved: u8,
}
abi!(DirectionStats, size = 72, align = 8);

/// The value of a flow's entry.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FlowStats {
    /// When the entry was made (`CLOCK_MONOTONIC`, ns): with the key, names this incarnation.
    pub first_ns: u64,
    /// Last packet, in ticks of the kernel's timer (`jiffies_64`): a tenth of a clock reading's cost.
    pub last_jiffies: u64,
    /// Generation of the policies that `verdict` was reached under; 0 = not judged here.
    pub policy_epoch: u32,
    /// The rule that decided.
    pub policy_rule: u32,
    /// The interface's row in the totals.
    pub slot: u16,
    /// Type `<< 8 |` code of the latest ICMP error about this flow.
    pub icmp_error: u16,
    /// An [`Initiator`].
    pub initiator: u8,
    /// Verdict of the policies of `policy_epoch`.
    pub verdict: u8,
    /// DNS response codes seen, or-ed: bit `n` is code `n` (RFC 1035 4.1.1).
    pub dns_rcodes: u16,
    /// What the endpoint sent.
    pub tx: DirectionStats,
    /// What the endpoint received.
    pub rx: DirectionStats,
}
abi!(FlowStats, size = 176, align = 8);

impl FlowStats {
    /// The half that counts packets going `direction`.
    pub const fn half(&self, direction: Direction) -> &DirectionStats {
        match direction {
            Direction::Tx => &self.tx,
            Direction::Rx => &self.rx,
        }
    }

    /// The half of who sends packets going `direction`, then that of who receives them.
    #[inline(always)]
    pub const fn halves_mut(
        &mut self,
        direction: Direction,
    ) -> (&mut DirectionStats, &mut DirectionStats) {
        match direction {
            Direction::Tx => (&mut self.tx, &mut self.rx),
            Direction::Rx => (&mut self.rx, &mut self.tx),
        }
    }

    /// The half that counts packets going `direction`, to write to.
    pub const fn half_mut(&mut self, direction: Direction) -> &mut DirectionStats {
        match direction {
            Direction::Tx => &mut self.tx,
            Direction::Rx => &mut self.rx,
        }
    }
}

/// An amount of traffic each way.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// What the endpoint sent.
    pub tx: Traffic,
    /// What the endpoint received.
    pub rx: Traffic,
}
abi!(Totals, size = 32, align = 8);

/// A row of the exact totals: what crossed one interface, on one CPU. Never evicted.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Crossed {
    /// As it was on the wire.
    pub wire: Totals,
    /// As socket buffers with the bytes that are in them: what a veth's own counters count. A GSO
    /// super-packet is one buffer, and has the headers of one frame.
    pub buffers: Totals,
}
abi!(Crossed, size = 64, align = 8);

impl Crossed {
    /// Both forms of what goes `direction`.
    #[inline(always)]
    pub const fn way_mut(&mut self, direction: Direction) -> (&mut Traffic, &mut Traffic) {
        match direction {
            Direction::Tx => (&mut self.wire.tx, &mut self.buffers.tx),
            Direction::Rx => (&mut self.wire.rx, &mut self.buffers.rx),
        }
    }
}

impl core::ops::AddAssign for Crossed {
    fn add_assign(&mut self, other: Self) {
        self.wire += other.wire;
        self.buffers += other.buffers;
    }
}

impl core::ops::AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.tx += other.tx;
        self.rx += other.rx;
    }
}

#[cfg(test)]
mod tests {
    use super::Traffic;

    #[test]
    fn a_super_packet_is_its_segments() {
        // 45 segments of 1448 bytes behind 66 bytes of headers: 45 frames of 1514.
        let whole = Traffic::of_buffer(66 + 45 * 1448, 45, 66, 0);
        assert_eq!(
            whole,
            Traffic {
                packets: 45,
                bytes: 45 * 1514
            }
        );
    }

    #[test]
    fn a_buffer_without_gso_is_one_frame() {
        assert_eq!(
            Traffic::of_buffer(60, 0, 42, 0),
            Traffic {
                packets: 1,
                bytes: 60
            }
        );
        assert_eq!(
            Traffic::of_buffer(60, 1, 42, 4),
            Traffic {
                packets: 1,
                bytes: 64
            }
        );
    }
}
