//! What was seen: each connection once, with how often and when.

use std::collections::{HashMap, hash_map::Entry};

use jiff::Timestamp;

use crate::audit::{Flow, Recent, When};

/// Flows that are known by their latest report: twice what the kernel of one node keeps.
const FLOWS: usize = 524_288;
/// Connections that are told apart.
const CONNECTIONS: usize = 131_072;

/// Connections, of bounded number.
#[derive(Debug)]
pub struct Seen {
    numbers: HashMap<Key, usize>,
    sightings: Vec<Sighting>,
    flows: Recent<Counted>,
    most: usize,
    left_out: u64,
}

/// What tells connections apart; whether a UDP flow came from a service's port does, too.
type Key = (u128, bool);

/// One report of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Names the flow among all.
    pub flow: u128,
    /// Names both ends and the port that was asked.
    pub connection: u128,
    /// The initiator's port is below 1024.
    pub from_reserved: bool,
    /// Sent and received since it began.
    pub bytes: u64,
    /// This is the flow's last report.
    pub ended: bool,
    /// Did anybody answer, as far as that is known?
    pub answered: bool,
    /// When it was there.
    pub when: Option<When>,
}

/// A connection at one of its ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// One of its flows: the first.
    pub flow: Flow,
    /// The record says that the peer is a service.
    pub to_service: bool,
    /// The initiator's port is below 1024.
    pub from_reserved: bool,
    /// How often, and when.
    pub evidence: Evidence,
}

/// How often something was seen, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Evidence {
    /// Flows.
    pub flows: u64,
    /// Their bytes.
    pub bytes: u64,
    /// From the first of them to the last, where that is known.
    pub when: Option<When>,
    /// One of them was answered.
    pub answered: bool,
}

impl Evidence {
    /// Adds what was seen elsewhere.
    pub fn add(&mut self, other: &Self) {
        self.flows += other.flows;
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.answered |= other.answered;
        if let Some(when) = other.when {
            self.extend(when);
        }
    }

    fn extend(&mut self, when: When) {
        let known = self.when.get_or_insert(when);
        known.first = known.first.min(when.first);
        known.last = known.last.max(when.last);
    }

    /// From when to when.
    pub fn between(&self) -> Option<(Timestamp, Timestamp)> {
        self.when.map(|when| (when.first, when.last))
    }
}

#[derive(Debug, Clone, Copy)]
struct Counted {
    number: usize,
    bytes: u64,
}

impl Default for Seen {
    fn default() -> Self {
        Self::bounded(FLOWS, CONNECTIONS)
    }
}

impl Seen {
    fn bounded(flows: usize, most: usize) -> Self {
        Self {
            numbers: HashMap::new(),
            sightings: Vec::new(),
            flows: Recent::new(flows),
            most,
            left_out: 0,
        }
    }

    /// Takes a report. `flow` is asked once for each connection, with whether its peer is a service.
    pub fn note(&mut self, report: &Report, flow: impl FnOnce() -> (Flow, bool)) {
        let Some(number) = self.number(report, flow) else {
            self.left_out += 1;
            return;
        };
        let mut bytes = report.bytes;
        if let Some(known) = self.flows.get_mut(report.flow) {
            bytes = bytes.max(known.bytes);
            let before = std::mem::replace(known, Counted { number, bytes });
            if let Some(Sighting { evidence, .. }) = self.sightings.get_mut(before.number) {
                evidence.flows -= 1;
                evidence.bytes = evidence.bytes.wrapping_sub(before.bytes);
            }
            if report.ended {
                self.flows.remove(report.flow);
            }
        } else if !report.ended {
            self.flows.insert(report.flow, Counted { number, bytes });
        }
        if let Some(Sighting { evidence, .. }) = self.sightings.get_mut(number) {
            evidence.flows += 1;
            evidence.bytes = evidence.bytes.wrapping_add(bytes);
            evidence.answered |= report.answered;
            if let Some(when) = report.when {
                evidence.extend(when);
            }
        }
    }

    fn number(&mut self, report: &Report, flow: impl FnOnce() -> (Flow, bool)) -> Option<usize> {
        let next = self.sightings.len();
        match self
            .numbers
            .entry((report.connection, report.from_reserved))
        {
            Entry::Occupied(known) => Some(*known.get()),
            Entry::Vacant(_) if next >= self.most => None,
            Entry::Vacant(vacant) => {
                let (flow, to_service) = flow();
                self.sightings.push(Sighting {
                    flow,
                    to_service,
                    from_reserved: report.from_reserved,
                    evidence: Evidence::default(),
                });
                Some(*vacant.insert(next))
            }
        }
    }

    /// Every connection with a number, by the latest that is known of its flows.
    pub fn sightings(&self) -> impl Iterator<Item = (usize, &Sighting)> {
        let all = self.sightings.iter().enumerate();
        all.filter(|(_, sighting)| sighting.evidence.flows > 0)
    }

    /// Reports of connections that there was no room for.
    pub const fn left_out(&self) -> u64 {
        self.left_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Direction, Protocol};

    fn report(flow: u128, connection: u128, bytes: u64) -> Report {
        Report {
            flow,
            connection,
            from_reserved: false,
            bytes,
            ended: false,
            answered: true,
            when: None,
        }
    }

    fn flow() -> (Flow, bool) {
        let flow = Flow {
            direction: Direction::Egress,
            protocol: Protocol::Ip(6),
            icmp: None,
            at_host: false,
            is_astray: false,
            local: None,
            remote: None,
        };
        (flow, false)
    }

    fn counts(seen: &Seen) -> Vec<(u64, u64)> {
        let evidence = seen.sightings().map(|(_, sighting)| sighting.evidence);
        evidence.map(|it| (it.flows, it.bytes)).collect()
    }

    #[test]
    fn a_flow_counts_once_and_where_its_latest_report_puts_it() {
        let mut seen = Seen::default();
        for (connection, bytes) in [(1, 10), (1, 25), (2, 30)] {
            seen.note(&report(7, connection, bytes), flow);
        }
        seen.note(&report(8, 2, 5), flow);
        assert_eq!(counts(&seen), [(2, 35)]);
    }

    #[test]
    fn what_there_is_no_room_for_is_counted() {
        let mut seen = Seen::bounded(10, 2);
        for number in 0..5 {
            seen.note(&report(number, number, 1), flow);
        }
        assert_eq!((counts(&seen).len(), seen.left_out()), (2, 3));
    }
}
