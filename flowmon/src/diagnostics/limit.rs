//! How many messages of a kind are written.

use std::{collections::HashMap, hash::Hash, time::Duration};

/// Messages of a kind that are written in [`WINDOW`]; the others are counted, and told of after it.
pub(super) const BURST: u32 = 20;
pub(super) const WINDOW: Duration = Duration::from_secs(10);

/// Kinds are places in the code, so there are not many.
#[derive(Debug)]
pub(super) struct Limit<K, M>(HashMap<K, Window<M>>);

#[derive(Debug)]
struct Window<M> {
    began_ns: u64,
    written: u32,
    held: u64,
    latest: Option<M>,
}

impl<K, M> Default for Limit<K, M> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq, M> Limit<K, M> {
    /// May a message of this kind be written? One that may not is remembered, if it is the latest.
    pub(super) fn admit(&mut self, kind: K, now_ns: u64, message: impl FnOnce() -> M) -> bool {
        let window = self.0.entry(kind).or_insert_with(|| Window {
            began_ns: now_ns,
            written: 0,
            held: 0,
            latest: None,
        });
        let admitted = window.written < BURST;
        if admitted {
            window.written += 1;
        } else {
            window.held += 1;
            window.latest = Some(message());
        }
        admitted
    }

    /// Ends the windows that are over: how many messages were held back in each, and the latest.
    pub(super) fn take_due(&mut self, now_ns: u64) -> Vec<(u64, M)> {
        let window_ns = u64::try_from(WINDOW.as_nanos()).unwrap_or(u64::MAX);
        self.take(|window| now_ns.saturating_sub(window.began_ns) >= window_ns)
    }

    /// Ends all of them.
    pub(super) fn take_all(&mut self) -> Vec<(u64, M)> {
        self.take(|_| true)
    }

    fn take(&mut self, is_over: impl Fn(&Window<M>) -> bool) -> Vec<(u64, M)> {
        let over = self.0.extract_if(|_, window| is_over(window));
        over.filter_map(|(_, window)| Some((window.held, window.latest?)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{BURST, Limit, WINDOW};

    const WINDOW_NS: u64 = WINDOW.as_secs() * 1_000_000_000;

    #[test]
    fn what_is_held_back_is_counted_and_told_of_after_the_window() {
        let mut limit = Limit::default();
        for number in 0..BURST + 5 {
            assert_eq!(limit.admit('a', 100, || number), number < BURST);
        }
        // Another kind has a window of its own.
        assert!(limit.admit('b', 200, || 0));
        assert_eq!(limit.take_due(100 + WINDOW_NS - 1), []);
        assert_eq!(limit.take_due(100 + WINDOW_NS), [(5, BURST + 4)]);
        assert_eq!(limit.take_due(100 + WINDOW_NS), []);
        assert!(limit.admit('a', 101 + WINDOW_NS, || 0));
    }

    #[test]
    fn at_the_end_nothing_is_left_untold() {
        let mut limit = Limit::default();
        for number in 0..=BURST {
            limit.admit('a', 100, || number);
        }
        assert_eq!(limit.take_all(), [(1, BURST)]);
        assert_eq!(limit.take_all(), []);
    }

    #[test]
    fn whatever_comes_is_written_or_told_of() {
        let mut limit = Limit::default();
        let (mut written, mut told) = (0, 0);
        for number in 0..10_000_u64 {
            let now = number * WINDOW_NS / 1000;
            told += limit
                .take_due(now)
                .iter()
                .map(|(count, _)| count)
                .sum::<u64>();
            written += u64::from(limit.admit('a', now, || number));
        }
        told += limit.take_all().iter().map(|(count, _)| count).sum::<u64>();
        assert_eq!((written, written + told), (10 * u64::from(BURST), 10_000));
    }
}
