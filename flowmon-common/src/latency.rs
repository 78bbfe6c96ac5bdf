//! Round-trip times of an endpoint, by powers of two.

use crate::{abi::abi, key::Direction, probe::Sample};

/// Which way round a round trip goes, seen from the host's end of the attachment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Side {
    /// Out to the peer and back: the endpoint's packets, acknowledged from the network.
    Network = 0,
    /// Into the container and back: what it received, acknowledged by it. Contains its delayed
    /// acknowledgements, so it is never mixed with the network's.
    Container = 1,
}

impl Side {
    /// The side that a packet going `direction` has just come back from.
    #[inline(always)]
    pub const fn answering(direction: Direction) -> Self {
        match direction {
            Direction::Rx => Self::Network,
            Direction::Tx => Self::Container,
        }
    }
}

/// Buckets of a [`Histogram`].
pub const BUCKETS: usize = 32;

/// Bucket `i` counts round trips of less than 2^(i+1) units of [`crate::probe::UNIT_NS`], and not
/// less than half of that; the first one also those of 0.
pub type Histogram = [u64; BUCKETS];

/// The histograms of one interface.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Latencies {
    /// By [`Side`]: round trips other than handshakes.
    pub rtt: [Histogram; 2],
    /// By [`Side`]: handshakes.
    pub handshake: [Histogram; 2],
}
abi!(Latencies, size = 1024, align = 8);

impl Latencies {
    /// Offset, in buckets, of the one that `sample` belongs to.
    #[inline(always)]
    pub const fn bucket(side: Side, sample: Sample) -> usize {
        let histogram = sample.handshake as usize * 2 + side as usize;
        histogram * BUCKETS + (sample.rtt | 1).ilog2() as usize
    }

    /// Buckets in all: a power of two.
    pub const ALL_BUCKETS: usize = 4 * BUCKETS;
}

#[cfg(test)]
mod tests {
    use super::{BUCKETS, Latencies, Side};
    use crate::probe::Sample;

    fn bucket(rtt: u32) -> usize {
        Latencies::bucket(
            Side::Network,
            Sample {
                rtt,
                handshake: false,
            },
        )
    }

    #[test]
    fn a_bucket_is_below_its_power_of_two() {
        assert_eq!([0, 1, 2, 3, 4, 7, 8].map(bucket), [0, 0, 1, 1, 2, 2, 3]);
        for bit in 1..32 {
            assert_eq!(bucket(1 << bit), bit);
            assert_eq!(bucket((1 << bit) - 1), bit - 1);
        }
        assert_eq!(bucket(u32::MAX), 31);
    }

    #[test]
    fn sides_and_handshakes_are_apart() {
        let sample = Sample {
            rtt: 0,
            handshake: true,
        };
        assert_eq!(Latencies::bucket(Side::Container, sample), 3 * BUCKETS);
        let last = Latencies::bucket(
            Side::Container,
            Sample {
                rtt: u32::MAX,
                handshake: true,
            },
        );
        assert_eq!(last, Latencies::ALL_BUCKETS - 1);
        assert_eq!(size_of::<Latencies>(), Latencies::ALL_BUCKETS * 8);
    }
}
