//! The only place that asks what time it is. Everywhere else time is an argument.

use jiff::{SignedDuration, Timestamp};
use nix::time::{ClockId, clock_gettime};

/// The same moment on the kernel's clock and on the wall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// `CLOCK_MONOTONIC`, ns: what the kernel side stamps with.
    pub monotonic_ns: u64,
    /// Wall-clock time.
    pub wall: Timestamp,
}

impl Moment {
    /// Now.
    pub fn now() -> Self {
        Self {
            monotonic_ns: monotonic_ns(),
            wall: Timestamp::now(),
        }
    }

    /// When another moment of the kernel's clock was. Steps of the wall clock and suspension since
    /// then are not accounted for.
    pub fn wall_at(&self, monotonic_ns: u64) -> Timestamp {
        let ago = i128::from(self.monotonic_ns) - i128::from(monotonic_ns);
        let ago = SignedDuration::from_nanos_i128(ago);
        self.wall.checked_sub(ago).unwrap_or(self.wall)
    }
}

/// `CLOCK_MONOTONIC` in ns; 0 if there were no such clock.
fn monotonic_ns() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |time| {
        let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
        let nanos = u64::try_from(time.tv_nsec()).unwrap_or(0);
        seconds * 1_000_000_000 + nanos
    })
}
