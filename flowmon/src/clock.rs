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

/// Tells the time on both clocks. They cannot be read at once, so the difference between them is
/// kept: a flow's `first_seen` must be the same in each of its records. Slewing moves both alike.
#[derive(Debug)]
pub struct Clock {
    /// The wall clock less the kernel's, in ns.
    offset: i64,
}

/// A change of the difference that is no delay between two readings: the wall clock was set, or the
/// machine was suspended.
const STEP_NS: u64 = 100_000_000;

impl Clock {
    /// Reads the difference.
    pub fn new() -> Self {
        Self {
            offset: offset(monotonic_ns()),
        }
    }

    /// With the difference that another process kept, so that both tell the same times.
    pub const fn going_on(offset_ns: i64) -> Self {
        Self { offset: offset_ns }
    }

    /// The wall clock less the kernel's, ns.
    pub const fn offset_ns(&self) -> i64 {
        self.offset
    }

    /// Now.
    pub fn now(&mut self) -> Moment {
        let monotonic_ns = monotonic_ns();
        let read = offset(monotonic_ns);
        if read.abs_diff(self.offset) > STEP_NS {
            self.offset = read;
        }
        let wall = Timestamp::from_nanosecond(i128::from(monotonic_ns) + i128::from(self.offset));
        Moment {
            monotonic_ns,
            wall: wall.unwrap_or_default(),
        }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

fn offset(monotonic_ns: u64) -> i64 {
    let wall_ns = Timestamp::now().as_nanosecond();
    i64::try_from(wall_ns - i128::from(monotonic_ns)).unwrap_or(0)
}

impl Moment {
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
        let mut clock = Clock::new();
        let then = clock.now();
        for _ in 0..1000 {
            assert_eq!(clock.now().wall_at(then.monotonic_ns), then.wall);
        }
    }

    #[test]
    fn two_clocks_tell_the_same_times_if_one_goes_on_from_the_other() {
        let mut first = Clock::new();
        let then = first.now();
        let mut second = Clock::going_on(first.offset_ns());
        assert_eq!(second.now().wall_at(then.monotonic_ns), then.wall);
        // Nothing is gone on with that is no time of ours.
        let off = Clock::going_on(0).now().wall.duration_since(then.wall);
        assert!(
            off.unsigned_abs() < std::time::Duration::from_secs(9),
            "{off}"
        );
    }

    #[test]
    fn the_wall_clock_is_right() {
        let off = Timestamp::now().duration_since(Clock::new().now().wall);
        assert!(
            off.unsigned_abs() < std::time::Duration::from_secs(1),
            "{off}"
        );
    }
}
