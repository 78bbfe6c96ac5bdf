//! The account: every flow once, in the one bucket that its latest verdict belongs to.

use std::collections::{HashMap, hash_map::Entry};

use flowmon_common::{Totals, Traffic};
use jiff::Timestamp;

use super::{Change, Flow, Judgement, Party, Who, judge::judge, recent::Recent};
use crate::{
    model::Protocol,
    policy::{Connection, Outcome, Verdicts},
};

/// Flows that are known by their latest report: twice what the kernel of one node keeps.
const FLOWS: usize = 524_288;
/// Connections whose verdict is remembered.
const CONNECTIONS: usize = 262_144;
/// Groups that are told apart; what comes later is added up by policy, direction and reason.
const GROUPS: usize = 16_384;

/// Keeps the account of flows and what policies say of them.
pub struct Audit<V> {
    verdicts: V,
    who: Who,
    diff: bool,
    judgements: Interned<Judgement>,
    buckets: Interned<Key>,
    amounts: Vec<Amount>,
    groups: usize,
    most_groups: usize,
    connections: Recent<u32>,
    flows: Recent<Counted>,
}

/// One report of a flow, in what the account needs of every one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Names the flow among all.
    pub flow: u128,
    /// Names everything that its verdict depends on.
    pub connection: u128,
    /// Its counters since it began.
    pub totals: Totals,
    /// This is the flow's last report.
    pub ended: bool,
    /// The verdict it was recorded with.
    pub before: Option<Outcome>,
}

/// When a flow was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct When {
    /// When it began.
    pub first: Timestamp,
    /// When its last packet was.
    pub last: Timestamp,
}

/// What flows of one bucket have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// Which judgement.
    pub(super) judgement: u32,
    /// The verdict before; none where nobody asked for the difference.
    pub(super) before: Option<Outcome>,
    /// Who with whom: only of what is worth telling one by one, and not of more than the most.
    pub(super) talk: Option<Talk>,
}

/// Who talked to whom, and about what.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Talk {
    /// Where it was seen.
    pub endpoint: Party,
    /// The other end.
    pub peer: Party,
    /// What they spoke.
    pub protocol: Protocol,
    /// The port that was asked, where there is one and it is known.
    pub port: Option<u16>,
}

/// What is in a bucket.
#[derive(Debug, Clone)]
pub(super) struct Amount {
    pub(super) flows: u64,
    pub(super) totals: Totals,
    pub(super) when: Option<When>,
    /// One of them: the first.
    pub(super) example: Flow,
}

/// What a flow added to which bucket.
#[derive(Debug, Clone, Copy)]
struct Counted {
    bucket: u32,
    totals: Totals,
}

impl<V: Fn(&Connection) -> Verdicts> Audit<V> {
    /// Judges by `verdicts`; with `diff`, tells flows apart by the verdict they had before.
    pub fn new(verdicts: V, who: Who, diff: bool) -> Self {
        Self::bounded(verdicts, who, diff, FLOWS, GROUPS)
    }

    pub(super) fn bounded(
        verdicts: V,
        who: Who,
        diff: bool,
        flows: usize,
        most_groups: usize,
    ) -> Self {
        Self {
            verdicts,
            who,
            diff,
            judgements: Interned::default(),
            buckets: Interned::default(),
            amounts: Vec::new(),
            groups: 0,
            most_groups,
            connections: Recent::new(CONNECTIONS),
            flows: Recent::new(flows),
        }
    }

    /// Takes a report. `flow` and `when` are asked only where they are needed: seldom, and of what
    /// is told one by one. Returns the number of its judgement.
    pub fn note(
        &mut self,
        seen: &Seen,
        flow: impl FnOnce() -> Flow,
        when: impl FnOnce() -> Option<When>,
    ) -> u32 {
        let before = seen.before.filter(|_| self.diff);
        // A hash has no neighbours, so these are other connections' keys as little as any.
        let connection = seen.connection.wrapping_add(match before {
            None => 0,
            Some(Outcome::Allowed) => 1,
            Some(Outcome::Denied) => 2,
            Some(Outcome::Undecided) => 3,
        });
        let known = self.connections.get_mut(connection).map(|bucket| *bucket);
        let bucket = known.unwrap_or_else(|| {
            let bucket = self.bucket(flow(), before);
            self.connections.insert(connection, bucket);
            bucket
        });
        self.count(seen, bucket);
        let Some(key) = self.buckets.get(bucket) else {
            return 0;
        };
        if key.talk.is_some()
            && let Some(when) = when()
            && let Some(amount) = self.amounts.get_mut(bucket as usize)
        {
            let known = amount.when.get_or_insert(when);
            known.first = known.first.min(when.first);
            known.last = known.last.max(when.last);
        }
        key.judgement
    }

    /// A judgement by its number.
    pub fn judgement(&self, number: u32) -> Option<&Judgement> {
        self.judgements.get(number)
    }

    /// Who is who.
    pub const fn who(&self) -> &Who {
        &self.who
    }

    /// Is the difference from the verdicts before wanted?
    pub(super) const fn is_diff(&self) -> bool {
        self.diff
    }

    /// Flows that were forgotten: each may have been counted once more if it was reported again.
    pub const fn forgotten(&self) -> u64 {
        self.flows.forgotten()
    }

    /// Every bucket with something in it.
    pub(super) fn buckets(&self) -> impl Iterator<Item = (&Key, &Judgement, &Amount)> {
        let filled = self.buckets.all().zip(&self.amounts);
        filled
            .filter(|(_, amount)| amount.flows > 0)
            .filter_map(|(key, amount)| Some((key, self.judgement(key.judgement)?, amount)))
    }

    /// Judges, and finds the bucket that such flows belong to.
    fn bucket(&mut self, flow: Flow, before: Option<Outcome>) -> u32 {
        let judgement = judge(&flow, &self.who, &self.verdicts);
        let is_worth_telling = match &judgement {
            Judgement::Not(_) => false,
            Judgement::Is(judged) if self.diff => {
                judged.outcome == Outcome::Denied || Change::of(before, judged.outcome).is_some()
            }
            Judgement::Is(judged) => judged.outcome == Outcome::Denied,
        };
        let talk = self.talk(&flow).filter(|_| is_worth_telling);
        let mut key = Key {
            judgement: self.judgements.number(judgement),
            before,
            talk,
        };
        if key.talk.is_some() && !self.buckets.contains(&key) {
            if self.groups < self.most_groups {
                self.groups += 1;
            } else {
                key.talk = None;
            }
        }
        let bucket = self.buckets.number(key);
        if self.amounts.len() <= bucket as usize {
            self.amounts.push(Amount {
                flows: 0,
                totals: Totals::default(),
                when: None,
                example: flow,
            });
        }
        bucket
    }

    fn talk(&self, flow: &Flow) -> Option<Talk> {
        Some(Talk {
            endpoint: self.who.is(flow.local.as_ref()?),
            peer: self.who.is(flow.remote.as_ref()?),
            protocol: flow.protocol,
            port: flow.asked_port(),
        })
    }

    /// Puts a flow into a bucket, and takes it out of the one where its last report had put it.
    fn count(&mut self, seen: &Seen, bucket: u32) {
        let mut counted = Counted {
            bucket,
            totals: seen.totals,
        };
        if let Some(known) = self.flows.get_mut(seen.flow) {
            counted.totals = larger(known.totals, seen.totals);
            let before = std::mem::replace(known, counted);
            if let Some(amount) = self.amounts.get_mut(before.bucket as usize) {
                amount.flows -= 1;
                subtract(&mut amount.totals, before.totals);
            }
            if seen.ended {
                self.flows.remove(seen.flow);
            }
        } else if !seen.ended {
            self.flows.insert(seen.flow, counted);
        }
        if let Some(amount) = self.amounts.get_mut(bucket as usize) {
            amount.flows += 1;
            amount.totals += counted.totals;
        }
    }
}

/// Counters grow: a report that has less is older than the one before it.
fn larger(one: Totals, other: Totals) -> Totals {
    let larger = |one: Traffic, other: Traffic| Traffic {
        packets: one.packets.max(other.packets),
        bytes: one.bytes.max(other.bytes),
    };
    Totals {
        tx: larger(one.tx, other.tx),
        rx: larger(one.rx, other.rx),
    }
}

fn subtract(from: &mut Totals, part: Totals) {
    for (from, part) in [(&mut from.tx, part.tx), (&mut from.rx, part.rx)] {
        from.packets = from.packets.wrapping_sub(part.packets);
        from.bytes = from.bytes.wrapping_sub(part.bytes);
    }
}

/// Values by number, each once.
#[derive(Debug)]
struct Interned<T> {
    numbers: HashMap<T, u32>,
    values: Vec<T>,
}

impl<T> Default for Interned<T> {
    fn default() -> Self {
        Self {
            numbers: HashMap::new(),
            values: Vec::new(),
        }
    }
}

impl<T: Clone + Eq + std::hash::Hash> Interned<T> {
    fn contains(&self, value: &T) -> bool {
        self.numbers.contains_key(value)
    }

    fn get(&self, number: u32) -> Option<&T> {
        self.values.get(number as usize)
    }

    fn all(&self) -> impl Iterator<Item = &T> {
        self.values.iter()
    }

    fn number(&mut self, value: T) -> u32 {
        let next = u32::try_from(self.values.len()).unwrap_or(u32::MAX);
        match self.numbers.entry(value) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(vacant) => {
                self.values.push(vacant.key().clone());
                *vacant.insert(next)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, net::IpAddr};

    use proptest::prelude::*;

    use super::*;
    use crate::{
        audit::{End, Findings},
        model::Direction,
        policy::{Reason, Verdict},
    };

    /// A flow from 10.0.0.`from` to 10.0.0.1, port `port`.
    fn flow(from: u8, port: u16) -> Flow {
        let end = |last, port| {
            Some(End {
                address: IpAddr::from([10, 0, 0, last]),
                port: Some(port),
                pod: None,
                name: None,
            })
        };
        Flow {
            direction: Direction::Egress,
            protocol: Protocol::Ip(6),
            icmp: None,
            at_host: false,
            local: end(from, 40_000),
            remote: end(1, port),
        }
    }

    /// Even ports are denied, 1 is undecided, the others allowed.
    fn outcome(port: u16) -> Outcome {
        match port {
            1 => Outcome::Undecided,
            port if port % 2 == 0 => Outcome::Denied,
            _ => Outcome::Allowed,
        }
    }

    fn verdicts(connection: &Connection) -> Verdicts {
        let egress = Verdict {
            outcome: outcome(connection.port.unwrap_or_default()),
            reason: Reason::RuleMatched,
            policy: None,
            rule: None,
        };
        Verdicts {
            egress: Some(egress),
            ingress: None,
        }
    }

    fn totals(number: u64) -> Totals {
        let traffic = |packets| Traffic {
            packets,
            bytes: packets * 100,
        };
        Totals {
            tx: traffic(number),
            rx: traffic(number / 2),
        }
    }

    #[derive(Debug, Clone)]
    struct Step {
        flow: u8,
        from: u8,
        port: u16,
        packets: u64,
        ended: bool,
        before: Option<Outcome>,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let before = prop_oneof![
            Just(None),
            Just(Some(Outcome::Allowed)),
            Just(Some(Outcome::Denied)),
            Just(Some(Outcome::Undecided)),
        ];
        let step = (
            0..12_u8,
            0..4_u8,
            1..6_u16,
            0..50_u64,
            any::<bool>(),
            before,
        );
        let step = step.prop_map(|(flow, from, port, packets, ended, before)| Step {
            flow,
            from,
            port,
            packets,
            ended: ended && packets % 4 == 0,
            before,
        });
        prop::collection::vec(step, 0..200)
    }

    fn note<V: Fn(&Connection) -> Verdicts>(audit: &mut Audit<V>, step: &Step) -> u32 {
        let seen = Seen {
            flow: u128::from(step.flow),
            connection: u128::from(step.from) << 70 | u128::from(step.port) << 10,
            totals: totals(step.packets),
            ended: step.ended,
            before: step.before,
        };
        let when = |second| Timestamp::from_second(second).unwrap_or_default();
        let when = When {
            first: when(1000),
            last: when(1000 + i64::from(step.flow)),
        };
        audit.note(&seen, || flow(step.from, step.port), || Some(when))
    }

    proptest! {
        /// By a reckoning that keeps every flow: each counts once, where its last report was put.
        #[test]
        fn each_flow_is_counted_once(steps in steps(), diff: bool, most_groups in 0..4_usize) {
            let mut audit = Audit::bounded(verdicts, Who::default(), diff, 1000, most_groups);
            let mut open: BTreeMap<u8, (Step, Totals)> = BTreeMap::new();
            let mut over = Vec::new();
            for step in &steps {
                let number = note(&mut audit, step);
                let Some(Judgement::Is(judged)) = audit.judgement(number) else {
                    return Err(TestCaseError::fail("not judged"));
                };
                prop_assert_eq!(judged.outcome, outcome(step.port));
                let known = open.remove(&step.flow).map(|(_, totals)| totals);
                let totals = larger(known.unwrap_or_default(), totals(step.packets));
                if step.ended {
                    over.push((step.clone(), totals));
                } else {
                    open.insert(step.flow, (step.clone(), totals));
                }
            }
            over.extend(open.into_values());
            let findings = Findings::new(&audit);
            prop_assert_eq!(findings.flows(), over.len() as u64);
            prop_assert_eq!(findings.forgotten, 0);
            for (found, expected) in [
                (findings.counts.allowed, Outcome::Allowed),
                (findings.counts.denied, Outcome::Denied),
                (findings.counts.undecided, Outcome::Undecided),
            ] {
                let flows = over.iter().filter(|(step, _)| outcome(step.port) == expected);
                prop_assert_eq!(found, flows.count() as u64);
            }
            let mut denied = Totals::default();
            findings.denied.iter().for_each(|group| denied += group.totals);
            let mut expected = Totals::default();
            let of = over.iter().filter(|(step, _)| outcome(step.port) == Outcome::Denied);
            of.for_each(|(_, totals)| expected += *totals);
            prop_assert_eq!(denied, expected);
            let named = findings.denied.iter().filter(|group| group.talk.is_some());
            prop_assert!(named.count() <= most_groups);
            if diff {
                let changes = findings.changes.unwrap_or_default();
                for change in [Change::NewlyDenied, Change::NewlyAllowed, Change::NewlyUndecided] {
                    let groups = changes.get(&change).map_or(&[][..], Vec::as_slice);
                    let found: u64 = groups.iter().map(|group| group.flows).sum();
                    let flows = over.iter().filter(|(step, _)| {
                        Change::of(step.before, outcome(step.port)) == Some(change)
                    });
                    prop_assert_eq!(found, flows.count() as u64);
                }
            }
        }
    }

    #[test]
    fn a_group_is_told_with_its_times_and_one_of_its_flows() {
        let mut audit = Audit::new(verdicts, Who::default(), false);
        for (flow, from) in [(3, 2), (7, 2), (5, 3)] {
            let step = Step {
                flow,
                from,
                port: 4,
                packets: 10,
                ended: false,
                before: None,
            };
            note(&mut audit, &step);
        }
        let findings = Findings::new(&audit);
        let told: Vec<_> = findings
            .denied
            .iter()
            .map(|group| {
                let talk = group.talk.as_ref();
                let when = group.when.map(|when| when.last.as_second());
                let endpoint = talk.map(|talk| talk.endpoint.to_string());
                (endpoint, group.flows, group.packets(), when)
            })
            .collect();
        assert_eq!(
            told,
            [
                (Some("10.0.0.2".to_owned()), 2, 30, Some(1007)),
                (Some("10.0.0.3".to_owned()), 1, 15, Some(1005)),
            ]
        );
    }

    #[test]
    fn what_is_forgotten_is_said() {
        let mut audit = Audit::bounded(verdicts, Who::default(), false, 4, 10);
        let step = |flow, ended| Step {
            flow,
            from: 1,
            port: 3,
            packets: 1,
            ended,
            before: None,
        };
        for flow in 0..100 {
            note(&mut audit, &step(flow, true));
        }
        assert_eq!(Findings::new(&audit).forgotten, 0);
        for flow in 0..100 {
            note(&mut audit, &step(flow, false));
        }
        let findings = Findings::new(&audit);
        assert_eq!((findings.flows(), findings.forgotten), (200, 96));
    }
}
