//! How long round trips took at an endpoint, from the kernel side's histograms.

use flowmon_common::{
    latency::{Histogram, Latencies, Side},
    probe::UNIT_NS,
};
use serde::Serialize;

/// One side's round trips, of one interface or of all.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Latency {
    /// Name of the interface; none for all of them together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Its index.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ifindex: Option<u32>,
    /// `network` or `container`: see the flow record's `rtt`.
    pub side: &'static str,
    /// All round trips.
    #[serde(flatten)]
    pub rtt: Quantiles,
    /// TCP's handshakes among them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handshake: Option<Quantiles>,
}

/// How many samples there were, and what so many of a hundred were less than (µs): the limit of a
/// bucket, so at most twice as much as the sample.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Quantiles {
    /// Samples.
    pub samples: u64,
    /// Half.
    pub p50_us: f64,
    /// Nine tenths.
    pub p90_us: f64,
    /// All but one in a hundred.
    pub p99_us: f64,
}

impl Quantiles {
    fn of(histogram: &Histogram) -> Option<Self> {
        let samples = histogram.iter().sum();
        (samples > 0).then(|| {
            let below = |percent| upper_limit_us(bucket_of(histogram, samples, percent));
            Self {
                samples,
                p50_us: below(50),
                p90_us: below(90),
                p99_us: below(99),
            }
        })
    }
}

/// The bucket that the last of the smallest `percent` of the samples is in.
fn bucket_of(histogram: &Histogram, samples: u64, percent: u64) -> usize {
    let rank = (u128::from(samples) * u128::from(percent)).div_ceil(100);
    let mut up_to_here = 0u128;
    let reached = histogram.iter().position(|&count| {
        up_to_here += u128::from(count);
        up_to_here >= rank
    });
    reached.unwrap_or(histogram.len())
}

/// Of a bucket, as a number of µs: see [`flowmon_common::latency::BUCKETS`]. To a tenth.
fn upper_limit_us(bucket: usize) -> f64 {
    let doublings = i32::try_from(bucket + 1).unwrap_or(i32::MAX);
    (2f64.powi(doublings) * UNIT_NS as f64 / 100.0).round() / 10.0
}

/// One for each side that has samples.
pub fn latency(interface: Option<(&str, u32)>, latencies: &Latencies) -> Vec<Latency> {
    let sides = [(Side::Network, "network"), (Side::Container, "container")];
    let of = |(side, name)| {
        let of_side = |[network, container]: &[Histogram; 2]| match side {
            Side::Network => *network,
            Side::Container => *container,
        };
        let handshake = of_side(&latencies.handshake);
        let mut all = of_side(&latencies.rtt);
        for (all, handshake) in all.iter_mut().zip(handshake) {
            *all += handshake;
        }
        Some(Latency {
            interface: interface.map(|(name, _)| name.to_owned()),
            ifindex: interface.map(|(_, ifindex)| ifindex),
            side: name,
            rtt: Quantiles::of(&all)?,
            handshake: Quantiles::of(&handshake),
        })
    };
    sides.into_iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::{Quantiles, latency};
    use flowmon_common::{
        latency::{BUCKETS, Latencies, Side},
        probe::{Sample, UNIT_NS},
    };
    use proptest::prelude::*;

    #[test]
    fn nothing_timed_is_nothing_said() {
        assert_eq!(Quantiles::of(&[0; BUCKETS]), None);
        assert!(latency(None, &Latencies::default()).is_empty());
    }

    #[test]
    fn sides_are_apart() {
        let mut latencies = Latencies::default();
        latencies.rtt[1][3] = 1;
        latencies.handshake[1][3] = 1;
        let said = latency(Some(("veth0", 7)), &latencies);
        let said = serde_json::to_value(said).unwrap_or_default();
        // 2^4 units of 256 ns.
        let expected = serde_json::json!([{
            "interface": "veth0", "ifindex": 7, "side": "container",
            "samples": 2, "p50_us": 4.1, "p90_us": 4.1, "p99_us": 4.1,
            "handshake": {"samples": 1, "p50_us": 4.1, "p90_us": 4.1, "p99_us": 4.1},
        }]);
        assert_eq!(said, expected);
    }

    proptest! {
        /// As many samples as it says are below each limit, and the limit is not twice too high.
        #[test]
        fn quantiles_are_what_they_say(mut rtts in prop::collection::vec(0u32..1 << 20, 1..300)) {
            let mut histogram = [0; BUCKETS];
            for &rtt in &rtts {
                let sample = Sample { rtt, handshake: false };
                let bucket = Latencies::bucket(Side::Network, sample);
                *histogram.get_mut(bucket).ok_or(TestCaseError::fail("no bucket"))? += 1;
            }
            rtts.sort_unstable();
            let said = Quantiles::of(&histogram).ok_or(TestCaseError::fail("none"))?;
            for (percent, limit) in [(50, said.p50_us), (90, said.p90_us), (99, said.p99_us)] {
                let rank = (rtts.len() * percent).div_ceil(100);
                let exact = rtts.get(rank - 1).copied().unwrap_or_default();
                let exact_us = f64::from(exact) * UNIT_NS as f64 / 1000.0;
                prop_assert!(exact_us < limit + 0.05, "{exact_us} µs is not below {limit}");
                prop_assert!(limit <= (exact_us * 2.0).max(0.512) + 0.05, "{limit} for {exact_us} µs");
            }
        }
    }
}
