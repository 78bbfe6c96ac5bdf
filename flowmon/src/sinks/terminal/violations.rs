//! Flows that policies deny, or of which nothing can be said, in the order in which they came.

use std::{collections::HashMap, sync::Arc};

use flowmon_common::Totals;
use jiff::Timestamp;

use crate::{
    clock::Moment,
    model::{Outcome, Verdict},
    sinks::talks::{Heard, Talk},
};

/// Groups that are remembered.
const MOST: usize = 512;

/// Flows of one talk with one verdict.
#[derive(Debug, Clone)]
pub(super) struct Group {
    pub(super) talk: Arc<Talk>,
    pub(super) verdict: Verdict,
    /// When the last new one was told.
    pub(super) last: Timestamp,
    pub(super) flows: u64,
    pub(super) packets: u64,
    pub(super) bytes: u64,
    /// How many groups there were before.
    pub(super) number: u64,
}

/// All groups.
#[derive(Debug, Clone, Default)]
pub(super) struct Violations {
    groups: HashMap<(Arc<Talk>, Verdict), Group>,
    /// How many there ever were.
    ever: u64,
    /// Was there any verdict at all?
    pub(super) is_judged: bool,
}

impl Violations {
    /// Notes a report; `is_new` when the flow did not have the verdict before.
    pub(super) fn note(&mut self, talk: &Arc<Talk>, heard: &Heard, is_new: bool, now: &Moment) {
        let Some(verdict) = &heard.verdict else {
            return;
        };
        self.is_judged = true;
        if verdict.outcome == Outcome::Allowed {
            return;
        }
        let key = (Arc::clone(talk), verdict.clone());
        if !self.groups.contains_key(&key) && self.groups.len() >= MOST {
            self.forget_the_oldest();
        }
        let group = self
            .groups
            .entry(key)
            .or_insert_with_key(|(talk, verdict)| {
                self.ever += 1;
                Group {
                    talk: Arc::clone(talk),
                    verdict: verdict.clone(),
                    last: now.wall,
                    flows: 0,
                    packets: 0,
                    bytes: 0,
                    number: self.ever,
                }
            });
        let Totals { tx, rx } = if is_new {
            heard.flow.totals()
        } else {
            heard.growth
        };
        group.packets += tx.packets + rx.packets;
        group.bytes += tx.bytes + rx.bytes;
        if is_new {
            group.flows += 1;
            group.last = now.wall;
        }
    }

    fn forget_the_oldest(&mut self) {
        let is_denied = |group: &Group| group.verdict.outcome == Outcome::Denied;
        let oldest = self.groups.iter();
        let oldest = oldest.min_by_key(|(_, group)| (is_denied(group), group.number));
        if let Some(key) = oldest.map(|(key, _)| key.clone()) {
            self.groups.remove(&key);
        }
    }

    /// Those that are denied first, and of them the newest. A group stays where it is when another of its
    /// flows comes.
    pub(super) fn newest_first(&self) -> Vec<&Group> {
        let mut groups: Vec<_> = self.groups.values().collect();
        groups.sort_by_key(|group| {
            let is_denied = group.verdict.outcome == Outcome::Denied;
            std::cmp::Reverse((is_denied, group.number))
        });
        groups
    }

    /// Groups with this outcome that are remembered.
    pub(super) fn count(&self, outcome: Outcome) -> usize {
        let has = |group: &&Group| group.verdict.outcome == outcome;
        self.groups.values().filter(has).count()
    }

    /// Groups that there were and that are not remembered.
    pub(super) fn forgotten(&self) -> u64 {
        self.ever.saturating_sub(self.groups.len() as u64)
    }
}
