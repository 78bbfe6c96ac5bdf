//! Reports of flows, judged and counted.

use flowmon_common::Totals;

use super::{Account, Flow, Judgement, Talk, When, Who, judge::judge, recent::Recent};
use crate::policy::{Connection, Outcome, Verdicts};

/// Flows that are known by their latest report: twice what the kernel of one node keeps.
const FLOWS: usize = 524_288;
/// Connections whose verdict is remembered.
const CONNECTIONS: usize = 262_144;
/// Groups that are told apart.
const GROUPS: usize = 16_384;

/// Judges flows by reports of them, and keeps the account.
pub struct Audit<V> {
    verdicts: V,
    who: Who,
    account: Account,
    connections: Recent<u32>,
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
            account: Account::new(diff, flows, most_groups),
            connections: Recent::new(CONNECTIONS),
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
        let before = seen.before.filter(|_| self.account.is_diff());
        // A hash has no neighbours, so these are other connections' keys as little as any.
        let connection = seen.connection.wrapping_add(match before {
            None => 0,
            Some(Outcome::Allowed) => 1,
            Some(Outcome::Denied) => 2,
            Some(Outcome::Undecided) => 3,
        });
        let known = self.connections.get_mut(connection).map(|bucket| *bucket);
        let bucket = known.unwrap_or_else(|| {
            let bucket = self.bucket(&flow(), before);
            self.connections.insert(connection, bucket);
            bucket
        });
        self.account
            .count(seen.flow, seen.totals, seen.ended, bucket);
        self.account.was_there(bucket, when);
        self.account.judgement_in(bucket)
    }

    /// A judgement by its number.
    pub fn judgement(&self, number: u32) -> Option<&Judgement> {
        self.account.judgement(number)
    }

    /// Who is who.
    pub const fn who(&self) -> &Who {
        &self.who
    }

    /// The account so far.
    pub const fn account(&self) -> &Account {
        &self.account
    }

    fn bucket(&mut self, flow: &Flow, before: Option<Outcome>) -> u32 {
        let judgement = judge(flow, &self.who, &self.verdicts);
        let talk = || talk(&self.who, flow);
        self.account.bucket(judgement, before, talk, flow)
    }
}

fn talk(who: &Who, flow: &Flow) -> Option<Talk> {
    Some(Talk {
        endpoint: who.is(flow.local.as_ref()?),
        peer: who.is(flow.remote.as_ref()?),
        protocol: flow.protocol,
        port: flow.asked_port(),
    })
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, net::IpAddr};

    use flowmon_common::Traffic;
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::{
        audit::{Change, End, Findings, account::larger},
        model::{Direction, Protocol},
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
            is_astray: false,
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
            let findings = Findings::new(audit.account());
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
            prop_assert!(named.count() <= 2 * most_groups);
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
        let findings = Findings::new(audit.account());
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

    /// Who goes through all ports fills no more than half of the room.
    #[test]
    fn a_scan_does_not_hide_who_comes_later() {
        let mut audit = Audit::bounded(verdicts, Who::default(), false, 1000, 5);
        let scan = (1..200_u16).map(|port| (1, port * 2));
        for (flow, (from, port)) in (0..).zip(scan.chain([(2, 2), (3, 4)])) {
            let step = Step {
                flow,
                from,
                port,
                packets: 1,
                ended: false,
                before: None,
            };
            note(&mut audit, &step);
        }
        let findings = Findings::new(audit.account());
        let told: Vec<_> = findings
            .denied
            .iter()
            .map(|group| {
                let talk = group.talk.as_ref();
                talk.map(|talk| (talk.endpoint.to_string(), talk.port, group.flows))
            })
            .collect();
        let port_of_scan = |port| Some(("10.0.0.1".to_owned(), Some(port), 1));
        let mut expected = vec![Some(("10.0.0.1".to_owned(), None, 194))];
        expected.extend([2, 4, 6, 8, 10].map(port_of_scan));
        expected.extend([2, 3].map(|last| Some((format!("10.0.0.{last}"), None, 1))));
        assert_eq!(told, expected);
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
        assert_eq!(Findings::new(audit.account()).forgotten, 0);
        for flow in 0..100 {
            note(&mut audit, &step(flow, false));
        }
        let findings = Findings::new(audit.account());
        assert_eq!((findings.flows(), findings.forgotten), (200, 96));
    }
}
