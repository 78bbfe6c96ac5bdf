//! One outstanding question for each direction of a flow, and how long its answer took.

use crate::stats::DirectionStats;

/// Nanoseconds in a unit of round-trip time.
pub const UNIT_NS: u64 = 256;

/// A probe in its 64-bit word, the whole of its state, so that two CPUs with one direction each never
/// tear it: what is awaited, and since when, in units whose lowest bit tells a handshake's. 0 is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe(pub u64);

/// A round-trip time that was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// In units of [`UNIT_NS`], to the nearest two of them.
    pub rtt: u32,
    /// Of a SYN or SYN+ACK: the handshake's.
    pub handshake: bool,
}

impl Probe {
    /// For an answer that will name `awaited`.
    #[inline(always)]
    pub const fn arm(awaited: u32, now_ns: u64, handshake: bool) -> u64 {
        ((awaited as u64) << 32) | (units(now_ns) & !1) as u64 | handshake as u64
    }

    /// Is there one?
    #[inline(always)]
    pub const fn is_armed(&self) -> bool {
        self.0 != 0
    }

    /// What the answer names.
    #[inline(always)]
    pub const fn awaited(&self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Is there one, and for longer than an answer takes?
    #[inline(always)]
    pub const fn is_unanswered(&self, now_ns: u64) -> bool {
        self.is_armed() && self.sample(now_ns).rtt > PATIENCE_UNITS
    }

    /// How long it has been armed.
    #[inline(always)]
    pub const fn sample(&self, now_ns: u64) -> Sample {
        Sample {
            rtt: (units(now_ns) & !1).wrapping_sub(since(self.0) & !1),
            handshake: self.0 & 1 != 0,
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the lower half of the word"
)]
#[inline(always)]
const fn since(word: u64) -> u32 {
    word as u32
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "nobody waits for 18 minutes, when it wraps"
)]
#[inline(always)]
const fn units(ns: u64) -> u32 {
    (ns / UNIT_NS) as u32
}

/// Adds a sample to the direction whose packets it timed.
#[inline(always)]
pub fn record(timed: &mut DirectionStats, sample: Sample) {
    if timed.rtt_samples == 0 || sample.rtt < timed.rtt_min {
        timed.rtt_min = sample.rtt;
    }
    if sample.rtt > timed.rtt_max {
        timed.rtt_max = sample.rtt;
    }
    if sample.handshake {
        timed.rtt_handshake = sample.rtt;
    }
    timed.rtt_last = sample.rtt;
    timed.rtt_sum = timed.rtt_sum.wrapping_add(sample.rtt.into());
    timed.rtt_samples = timed.rtt_samples.wrapping_add(1);
}

/// Without an answer for so long a question is unanswered, and a newer one is timed instead.
pub const PATIENCE_NS: u64 = 2_000_000_000;
const PATIENCE_UNITS: u32 = units(PATIENCE_NS);

/// A question that `asker` sends, which its answer will name `id`: DNS, ICMP echo. Of several at
/// once the first is timed.
#[inline(always)]
pub fn ask(asker: &mut DirectionStats, id: u32, now_ns: u64) {
    let probe = Probe(asker.probe);
    let is_unanswered = probe.is_unanswered(now_ns);
    if is_unanswered {
        asker.unanswered = asker.unanswered.saturating_add(1);
    }
    if is_unanswered || !probe.is_armed() {
        asker.probe = Probe::arm(id, now_ns, false);
    } else if probe.awaited() == id {
        // Asked again: no one can tell which copy the answer is for.
        asker.probe = 0;
    }
}

/// The answer named `id` came back to `asker`.
#[inline(always)]
pub fn answer(asker: &mut DirectionStats, id: u32, now_ns: u64) -> Option<Sample> {
    let probe = Probe(asker.probe);
    if !probe.is_armed() || probe.awaited() != id {
        return None;
    }
    asker.probe = 0;
    let sample = probe.sample(now_ns);
    record(asker, sample);
    Some(sample)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn the_first_of_several_questions_is_timed() {
        let mut asker = DirectionStats::default();
        ask(&mut asker, 7, MS);
        ask(&mut asker, 8, 2 * MS);
        assert_eq!(answer(&mut asker, 8, 3 * MS), None);
        let rtt =
            answer(&mut asker, 7, 4 * MS).map(|sample| u64::from(sample.rtt) * UNIT_NS / 1000);
        assert!(
            rtt.is_some_and(|rtt| (2999..=3000).contains(&rtt)),
            "{rtt:?}"
        );
        assert_eq!(answer(&mut asker, 7, 5 * MS), None, "one answer is enough");
        assert_eq!(asker.rtt_samples, 1);
    }

    #[test]
    fn a_question_that_nobody_answers_gives_way() {
        let mut asker = DirectionStats::default();
        ask(&mut asker, 7, 0);
        assert!(!Probe(asker.probe).is_unanswered(2000 * MS));
        assert!(Probe(asker.probe).is_unanswered(2001 * MS));
        ask(&mut asker, 8, 3000 * MS);
        assert_eq!(asker.unanswered, 1);
        assert_eq!(answer(&mut asker, 7, 3001 * MS), None, "too late");
        assert!(answer(&mut asker, 8, 3002 * MS).is_some());
        assert_eq!(asker.unanswered, 1);
    }

    #[test]
    fn the_same_question_after_an_answer_is_overdue_is_another() {
        let mut asker = DirectionStats::default();
        ask(&mut asker, 7, 0);
        ask(&mut asker, 7, 5000 * MS);
        assert_eq!(asker.unanswered, 1);
        assert!(answer(&mut asker, 7, 5001 * MS).is_some());
    }

    #[test]
    fn a_question_asked_again_is_not_timed() {
        let mut asker = DirectionStats::default();
        ask(&mut asker, 7, MS);
        ask(&mut asker, 7, 1000 * MS);
        assert_eq!(answer(&mut asker, 7, 1001 * MS), None);
    }
}
