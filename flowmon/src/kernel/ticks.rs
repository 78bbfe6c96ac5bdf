//! From ticks of the kernel's timer to nanoseconds. How long a tick is, no interface tells: it is
//! measured.

use std::time::Duration;

use flowmon_common::Clocks;

/// `CONFIG_HZ` choices (`kernel/Kconfig.hz`).
const RATES: [u64; 4] = [100, 250, 300, 1000];
/// Readings so far apart tell the rates from one another, a tick's error included.
const ENOUGH: Duration = Duration::from_millis(100);
const SECOND_NS: u64 = 1_000_000_000;

/// Both clocks now, and the length of a tick as well as it is known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticks {
    first: Clocks,
    now: Clocks,
}

impl Ticks {
    pub(super) const fn new(first: Clocks) -> Self {
        Self { first, now: first }
    }

    /// Takes a newer reading.
    pub(super) const fn update(&mut self, now: Clocks) {
        self.now = now;
    }

    /// When a tick was (`CLOCK_MONOTONIC`, ns), to the length of a tick. Never in the future.
    pub(super) fn monotonic_ns(&self, jiffies: u64) -> u64 {
        let ago = self.now.jiffies.saturating_sub(jiffies);
        self.now
            .monotonic_ns
            .saturating_sub(ago.saturating_mul(SECOND_NS / self.rate()))
    }

    /// Ticks in a second. Before enough time has passed the commonest rate is as good as any: the
    /// ticks that it is wrong for are few.
    fn rate(&self) -> u64 {
        let elapsed = self
            .now
            .monotonic_ns
            .saturating_sub(self.first.monotonic_ns);
        if Duration::from_nanos(elapsed) < ENOUGH {
            return 250;
        }
        let ticks = self.now.jiffies.saturating_sub(self.first.jiffies);
        let measured = ticks.saturating_mul(SECOND_NS) / elapsed;
        RATES
            .into_iter()
            .min_by_key(|rate| rate.abs_diff(measured))
            .unwrap_or(250)
    }
}

#[cfg(test)]
mod tests {
    use super::{RATES, SECOND_NS, Ticks};
    use flowmon_common::Clocks;

    #[test]
    fn the_rate_is_found_out_in_a_tenth_of_a_second() {
        for rate in RATES {
            for off_by in [0, 1] {
                let mut ticks = Ticks::new(Clocks {
                    monotonic_ns: 5,
                    jiffies: 4_294_937_296,
                });
                ticks.update(Clocks {
                    monotonic_ns: 5 + SECOND_NS / 10,
                    jiffies: 4_294_937_296 + rate / 10 + off_by,
                });
                assert_eq!(ticks.rate(), rate, "off by {off_by}");
            }
        }
    }

    #[test]
    fn a_tick_ago_is_a_tick_ago() {
        let mut ticks = Ticks::new(Clocks {
            monotonic_ns: 0,
            jiffies: 0,
        });
        ticks.update(Clocks {
            monotonic_ns: SECOND_NS,
            jiffies: 1000,
        });
        assert_eq!(ticks.monotonic_ns(999), SECOND_NS - 1_000_000);
        assert_eq!(ticks.monotonic_ns(1001), SECOND_NS, "not in the future");
    }
}
