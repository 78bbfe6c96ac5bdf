//! What an audit found.

use std::collections::BTreeMap;

use flowmon_common::Totals;

use super::{Account, Flow, Judged, Judgement, NotJudged, Talk, When};
use crate::{
    model::{Audited, Direction, Violation},
    policy::{Outcome, Reason, model::PolicyId},
};

/// Everything an audit found. Each flow is in it once.
#[derive(Debug, Clone)]
pub struct Findings {
    /// Flows by outcome.
    pub counts: Counts,
    /// Flows that no policy is about, by why.
    pub not_judged: BTreeMap<NotJudged, u64>,
    /// Flows that the peer's policies deny: the peer's matter, and no violation of the endpoint.
    pub denied_by_peer: u64,
    /// Denied flows, by policy, endpoint, peer and port; the most flows first. What had no room is
    /// in groups that name no one, one for each policy, direction and reason.
    pub denied: Vec<Group>,
    /// Undecided flows, by reason and policy.
    pub undecided: Vec<Group>,
    /// What differs from the verdicts before, where that was asked for.
    pub changes: Option<BTreeMap<Change, Vec<Group>>>,
    /// Flows with a verdict of each policy's, by direction.
    pub policies: BTreeMap<(PolicyId, Direction), Counts>,
    /// Flows that were forgotten for want of room: each may have been counted more than once.
    pub forgotten: u64,
}

/// Flows by outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Allowed.
    pub allowed: u64,
    /// Denied.
    pub denied: u64,
    /// Undecided.
    pub undecided: u64,
}

/// Flows that belong together.
#[derive(Debug, Clone)]
pub struct Group {
    /// The verdict on all of them.
    pub judged: Judged,
    /// The verdict before, where that was asked for and there was one.
    pub before: Option<Outcome>,
    /// Who with whom, where that is told.
    pub talk: Option<Talk>,
    /// How many flows.
    pub flows: u64,
    /// Their packets and bytes, all together.
    pub totals: Totals,
    /// When they were there, where that is told.
    pub when: Option<When>,
    /// One of them.
    pub example: Flow,
}

/// How a verdict differs from the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Change {
    /// It was not denied before, or nobody had said.
    NewlyDenied,
    /// It was denied before.
    NewlyAllowed,
    /// It was decided before.
    NewlyUndecided,
}

impl Change {
    /// None when nothing changed that matters: what was undecided, or had no verdict, may be
    /// allowed now.
    pub const fn of(before: Option<Outcome>, now: Outcome) -> Option<Self> {
        match (before, now) {
            (Some(Outcome::Denied), Outcome::Allowed) => Some(Self::NewlyAllowed),
            (Some(Outcome::Denied), Outcome::Denied) => None,
            (_, Outcome::Denied) => Some(Self::NewlyDenied),
            (Some(Outcome::Allowed | Outcome::Denied), Outcome::Undecided) => {
                Some(Self::NewlyUndecided)
            }
            (_, Outcome::Allowed | Outcome::Undecided) => None,
        }
    }

    /// Its name in summaries.
    pub const fn label(self) -> &'static str {
        match self {
            Self::NewlyDenied => "newly-denied",
            Self::NewlyAllowed => "newly-allowed",
            Self::NewlyUndecided => "newly-undecided",
        }
    }
}

impl Group {
    /// Packets of both directions.
    pub const fn packets(&self) -> u64 {
        self.totals.tx.packets.wrapping_add(self.totals.rx.packets)
    }

    /// As summaries and metrics tell it.
    fn violation(&self) -> Violation {
        let talk = self.talk.as_ref();
        Violation {
            verdict: self.judged.verdict(),
            endpoint: talk.map(|talk| talk.endpoint.clone().into()),
            peer: talk.map(|talk| talk.peer.clone().into()),
            protocol: talk.map(|talk| talk.protocol),
            port: talk.and_then(|talk| talk.port),
            flows: self.flows,
            packets: self.packets(),
            bytes: self.bytes(),
        }
    }

    /// Bytes of both directions.
    pub const fn bytes(&self) -> u64 {
        self.totals.tx.bytes.wrapping_add(self.totals.rx.bytes)
    }
}

impl Counts {
    fn add(&mut self, outcome: Outcome, flows: u64) {
        match outcome {
            Outcome::Allowed => self.allowed += flows,
            Outcome::Denied => self.denied += flows,
            Outcome::Undecided => self.undecided += flows,
        }
    }

    /// All of them.
    pub const fn flows(&self) -> u64 {
        self.allowed + self.denied + self.undecided
    }
}

impl Findings {
    /// What an account comes to.
    pub fn new(account: &Account) -> Self {
        let mut findings = Self {
            counts: Counts::default(),
            not_judged: BTreeMap::new(),
            denied_by_peer: 0,
            denied: Vec::new(),
            undecided: Vec::new(),
            changes: account.is_diff().then(BTreeMap::new),
            policies: BTreeMap::new(),
            forgotten: account.forgotten(),
        };
        for (key, judgement, amount) in account.buckets() {
            let judged = match judgement {
                Judgement::Is(judged) => judged,
                Judgement::Not(why) => {
                    *findings.not_judged.entry(*why).or_default() += amount.flows;
                    continue;
                }
            };
            findings.counts.add(judged.outcome, amount.flows);
            if judged.peer_outcome == Some(Outcome::Denied) {
                findings.denied_by_peer += amount.flows;
            }
            if let Some(policy) = &judged.policy {
                let of = (policy.clone(), judged.direction);
                let counts = findings.policies.entry(of).or_default();
                counts.add(judged.outcome, amount.flows);
            }
            let group = Group {
                judged: judged.clone(),
                before: key.before,
                talk: key.talk.clone(),
                flows: amount.flows,
                totals: amount.totals,
                when: amount.when,
                example: amount.example.clone(),
            };
            let change = Change::of(key.before, judged.outcome);
            if let Some(changes) = &mut findings.changes
                && let Some(change) = change
            {
                changes.entry(change).or_default().push(group.clone());
            }
            match judged.outcome {
                Outcome::Allowed => {}
                Outcome::Denied => findings.denied.push(group),
                Outcome::Undecided => findings.undecided.push(group),
            }
        }
        findings.sort();
        findings
    }

    /// Flows that a caller who fears denials wants to know of: all denied ones, or those that are
    /// newly so where the difference was asked for.
    pub fn violations(&self) -> &[Group] {
        match &self.changes {
            None => &self.denied,
            Some(changes) => changes.get(&Change::NewlyDenied).map_or(&[], Vec::as_slice),
        }
    }

    /// All flows, also those that are not judged.
    pub fn flows(&self) -> u64 {
        self.counts.flows() + self.not_judged.values().sum::<u64>()
    }

    /// As summaries and metrics tell it.
    pub fn audited(&self) -> Audited {
        let reasons = self.undecided_by_reason().into_iter();
        let not_judged = self.not_judged.iter();
        Audited {
            violations: self.counts.denied,
            undecided: self.counts.undecided,
            allowed: self.counts.allowed,
            not_judged: not_judged
                .map(|(why, flows)| (why.label(), *flows))
                .collect(),
            undecided_reasons: reasons
                .map(|(reason, flows, _)| (reason.label(), flows))
                .collect(),
            violation_groups: self.denied.iter().map(Group::violation).collect(),
            ..Audited::default()
        }
    }

    /// Undecided flows by reason, the most first.
    pub fn undecided_by_reason(&self) -> Vec<(Reason, u64, &Flow)> {
        let mut reasons: BTreeMap<Reason, (u64, &Flow)> = BTreeMap::new();
        for group in &self.undecided {
            let of_reason = reasons
                .entry(group.judged.reason)
                .or_insert((0, &group.example));
            of_reason.0 += group.flows;
        }
        let mut reasons: Vec<_> = reasons
            .into_iter()
            .map(|(reason, (flows, example))| (reason, flows, example))
            .collect();
        reasons.sort_by_key(|(reason, flows, _)| (u64::MAX - flows, reason.label()));
        reasons
    }

    /// The same log gives the same report.
    fn sort(&mut self) {
        let changes = self.changes.iter_mut().flat_map(BTreeMap::values_mut);
        for groups in changes.chain([&mut self.denied, &mut self.undecided]) {
            // Those that name someone first.
            groups.sort_by(|one, other| {
                let order = |group: &Group| (group.talk.is_none(), u64::MAX - group.flows);
                order(one)
                    .cmp(&order(other))
                    .then_with(|| one.judged.policy.cmp(&other.judged.policy))
                    .then_with(|| one.talk.cmp(&other.talk))
                    .then_with(|| one.judged.direction.cmp(&other.judged.direction))
            });
        }
    }
}
