//! The only place that asks what time it is. Everywhere else time is an argument.

use std::sync::atomic::{AtomicI64, Ordering};

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

/// The wall clock less the kernel's clock, in ns. Kept, because the two cannot be read at once: a
/// flow's `first_seen` must be the same in each of its records. Slewing moves both clocks alike.
static OFFSET: AtomicI64 = AtomicI64::new(0);

/// A difference in the offset that is no delay between two readings: the wall clock was set, or
/// the machine was suspended.
const STEP_NS: u64 = 100_000_000;

impl Moment {
    /// Now.
    pub fn now() -> Self {
        let monotonic_ns = monotonic_ns();
        let wall_ns = Timestamp::now().as_nanosecond();
        let read = i64::try_from(wall_ns - i128::from(monotonic_ns)).unwrap_or(0);
        let mut offset = OFFSET.load(Ordering::Relaxed);
        if read.abs_diff(offset) > STEP_NS {
            offset = read;
            OFFSET.store(offset, Ordering::Relaxed);
        }
        let wall = Timestamp::from_nanosecond(i128::from(monotonic_ns) + i128::from(offset));
        Self {
            monotonic_ns,
            wall: wall.unwrap_or_default(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_the_same_whenever_it_is_asked_for() {
        let then = Moment::now();
        for _ in 0..1000 {
            assert_eq!(Moment::now().wall_at(then.monotonic_ns), then.wall);
        }
    }

    #[test]
    fn the_wall_clock_is_right() {
        let off = Timestamp::now().duration_since(Moment::now().wall);
        assert!(
            off.unsigned_abs() < std::time::Duration::from_secs(1),
            "{off}"
        );
    }
}
