//! Which flows were counted as violations, or as undecided: each is once.

use std::collections::HashMap;

use flowmon_common::{FlowKey, Totals};
use foldhash::fast::RandomState;

use crate::model::{FlowEvent, Outcome, Report};

/// Flows that ended of which it is remembered how they stood, should they only have been evicted. All of
/// them are forgotten together: 2 MB.
const ENDED: usize = 32_768;

/// Flows that are, or were, not allowed.
#[derive(Debug, Default)]
pub(super) struct Standings {
    flows: HashMap<FlowKey, Standing, RandomState>,
    ended: HashMap<FlowKey, Standing, RandomState>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Undecided,
    Denied,
    /// Whatever it was to the process before this one, which counted it, until it is seen to be allowed.
    Inherited,
}

/// What a report with a verdict counts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counts {
    /// So many violations, and bytes of them.
    Denied {
        flows: u64,
        bytes: u64,
    },
    /// One more of which nothing can be said.
    Undecided,
    Nothing,
}

impl Standings {
    /// A flow was told of, with this outcome where policies are about it.
    ///
    /// Once a violation, it stays counted as one. What a flow had come to before it was a violation counts
    /// too, unless it was allowed then. A flow that another process knew was counted by that one: it counts
    /// with what is added, and as a violation when policies change to forbid it. One that was evicted stands
    /// as it did.
    pub(super) fn note(&mut self, report: &Report<'_>, outcome: Option<Outcome>) -> Counts {
        let key = report.flow.key;
        let earlier = match report.event {
            FlowEvent::Inherited => Some(Standing::Inherited),
            FlowEvent::Again => self.ended.remove(&key),
            _ => None,
        };
        if let Some(earlier) = earlier {
            self.flows.insert(key, earlier);
        }
        let counts = outcome.map_or(Counts::Nothing, |outcome| self.judged(report, outcome));
        if report.event == FlowEvent::End
            && let Some(standing) = self.flows.remove(&key)
        {
            if self.ended.len() >= ENDED {
                self.ended.clear();
            }
            self.ended.insert(key, standing);
        }
        counts
    }

    fn judged(&mut self, report: &Report<'_>, outcome: Outcome) -> Counts {
        let key = report.flow.key;
        let before = self.flows.get(&key).copied();
        let bytes = |totals: Totals| totals.tx.bytes + totals.rx.bytes;
        match (outcome, before) {
            (Outcome::Denied, Some(Standing::Denied | Standing::Inherited)) => Counts::Denied {
                flows: 0,
                bytes: bytes(report.growth),
            },
            (Outcome::Denied, None | Some(Standing::Undecided)) => {
                self.flows.insert(key, Standing::Denied);
                let all = match before {
                    Some(_) => report.flow.totals(),
                    None => report.growth,
                };
                Counts::Denied {
                    flows: 1,
                    bytes: bytes(all),
                }
            }
            (Outcome::Undecided, None) => {
                self.flows.insert(key, Standing::Undecided);
                Counts::Undecided
            }
            (Outcome::Allowed, Some(Standing::Inherited)) => {
                self.flows.remove(&key);
                Counts::Nothing
            }
            (Outcome::Undecided | Outcome::Allowed, _) => Counts::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use flowmon_common::{FlowStats, Traffic};

    use super::*;
    use crate::model::Flow;

    /// A flow as it is told one time after the other, with 100 bytes more each time.
    struct Tale {
        standings: Standings,
        flow: Flow,
    }

    impl Tale {
        fn new() -> Self {
            let flow = Flow {
                key: FlowKey::default(),
                stats: FlowStats::default(),
                last_ns: 0,
            };
            Self {
                standings: Standings::default(),
                flow,
            }
        }

        fn tell(&mut self, event: FlowEvent, outcome: Option<Outcome>) -> Counts {
            let before = self.flow;
            let mut growth = Totals::default();
            if event != FlowEvent::Inherited {
                growth.tx = Traffic {
                    packets: 1,
                    bytes: 100,
                };
            }
            self.flow.stats.tx.traffic += growth.tx;
            let report = Report {
                event,
                flow: &self.flow,
                before: Some(&before),
                growth,
            };
            self.standings.note(&report, outcome)
        }
    }

    const fn denied(flows: u64, bytes: u64) -> Counts {
        Counts::Denied { flows, bytes }
    }

    #[test]
    fn a_violation_is_one_and_all_its_bytes_are() {
        use FlowEvent::{End, New, Update};
        use Outcome::{Allowed, Denied, Undecided};
        let mut tale = Tale::new();
        assert_eq!(tale.tell(New, Some(Denied)), denied(1, 100));
        assert_eq!(tale.tell(Update, Some(Denied)), denied(0, 100));
        assert_eq!(tale.tell(Update, Some(Allowed)), Counts::Nothing);
        assert_eq!(tale.tell(Update, Some(Denied)), denied(0, 100));
        assert_eq!(tale.tell(End, Some(Denied)), denied(0, 100));
        // Another flow by the same name.
        assert_eq!(tale.tell(New, None), Counts::Nothing);
        assert_eq!(tale.tell(Update, Some(Undecided)), Counts::Undecided);
        assert_eq!(tale.tell(Update, Some(Undecided)), Counts::Nothing);
        assert_eq!(tale.tell(Update, Some(Denied)), denied(1, 900));
    }

    #[test]
    fn an_evicted_flow_stands_as_it_did() {
        use FlowEvent::{Again, End, New};
        use Outcome::{Allowed, Denied, Undecided};
        for (before, then, counted) in [
            (Denied, Denied, denied(0, 100)),
            (Denied, Undecided, Counts::Nothing),
            (Undecided, Undecided, Counts::Nothing),
            (Undecided, Denied, denied(1, 300)),
            (Allowed, Denied, denied(1, 100)),
        ] {
            let mut tale = Tale::new();
            tale.tell(New, Some(before));
            tale.tell(End, Some(before));
            assert_eq!(tale.tell(Again, Some(then)), counted, "{before:?}");
            tale.tell(End, Some(Denied));
            // Another one by the same name.
            assert_eq!(tale.tell(New, Some(Denied)), denied(1, 100));
        }
        let mut tale = Tale::new();
        for port in 0..=u16::MAX {
            tale.flow.key.local_port = port;
            tale.tell(New, Some(Denied));
            tale.tell(End, Some(Denied));
            let Standings { flows, ended } = &tale.standings;
            assert!(flows.is_empty() && ended.len() <= ENDED);
        }
    }

    #[test]
    fn what_was_allowed_before_it_was_denied_is_no_violation() {
        let mut tale = Tale::new();
        let allowed = tale.tell(FlowEvent::New, Some(Outcome::Allowed));
        assert_eq!(allowed, Counts::Nothing);
        let then = tale.tell(FlowEvent::Update, Some(Outcome::Denied));
        assert_eq!(then, denied(1, 100));
    }

    #[test]
    fn an_inherited_flow_counts_with_what_is_added() {
        use FlowEvent::{Inherited, Update};
        use Outcome::{Allowed, Denied, Undecided};
        // Names may become known after it was told first.
        for first in [None, Some(Undecided), Some(Denied)] {
            let mut tale = Tale::new();
            let counted = tale.tell(Inherited, first);
            assert!(
                [Counts::Nothing, denied(0, 0)].contains(&counted),
                "{first:?}"
            );
            assert_eq!(tale.tell(Update, Some(Undecided)), Counts::Nothing);
            assert_eq!(tale.tell(Update, Some(Denied)), denied(0, 100));
            // Policies change, and change again.
            assert_eq!(tale.tell(Update, Some(Allowed)), Counts::Nothing);
            assert_eq!(tale.tell(Update, Some(Denied)), denied(1, 100));
        }
    }
}
