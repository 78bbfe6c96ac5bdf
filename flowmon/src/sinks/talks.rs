//! Who talked to whom in an interval: flows that belong together, added up.

use std::{collections::HashMap, mem};

use flowmon_common::{FlowKey, Totals};

use super::{Told, escaped};
use crate::{
    clock::Moment,
    model::{
        Direction, Endpoint, EndpointKind, Flow, FlowEvent, Identity, IdentitySource, Protocol,
        Report, TcpState, Verdict,
    },
};

/// Talks that are told apart in an interval, and flows in all of them together. What is beyond that
/// is in sums only.
const MOST_TALKS: usize = 4096;
const MOST_FLOWS: usize = 65_536;

/// Every connection of one endpoint to one service of one peer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Talk {
    /// The endpoint's name, or its interface's.
    pub(super) endpoint: String,
    pub(super) direction: Direction,
    pub(super) protocol: Protocol,
    /// The peer's name, or its address.
    pub(super) peer: String,
    /// The port of the side that was asked; none where that is not known.
    pub(super) port: Option<u16>,
}

/// What was heard of a talk.
#[derive(Debug, Clone)]
pub(super) struct Amount {
    /// Its flows, as they were reported last.
    pub(super) flows: HashMap<FlowKey, Heard>,
    /// Were there flows that had no room?
    pub(super) has_more: bool,
    /// What all of them together grew by.
    pub(super) growth: Totals,
    /// Where it was seen.
    pub(super) endpoint: Endpoint,
    /// What the peer is, and who says so.
    pub(super) peer: Option<(EndpointKind, Option<IdentitySource>)>,
}

/// A flow, and what happened to it in the interval.
#[derive(Debug, Clone)]
pub(super) struct Heard {
    pub(super) flow: Flow,
    pub(super) growth: Totals,
    pub(super) has_ended: bool,
    pub(super) trouble: Option<&'static str>,
    pub(super) verdict: Option<Verdict>,
}

/// What had no room of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Others {
    /// Reports of it.
    pub(super) reports: u64,
    /// What it grew by.
    pub(super) growth: Totals,
}

/// All talks of an interval.
#[derive(Debug, Clone, Default)]
pub(super) struct Talks {
    pub(super) amounts: HashMap<Talk, Amount>,
    pub(super) others: Others,
    /// Flows in all talks.
    flows: usize,
}

impl Talks {
    /// Adds a report.
    pub(super) fn add(&mut self, told: &Told<'_>) {
        let Told { report, now, .. } = *told;
        let talk = Talk::of(report.flow, told.endpoint, told.remote);
        let has_room = self.amounts.len() < MOST_TALKS;
        let amount = match self.amounts.get_mut(&talk) {
            Some(amount) => amount,
            None if has_room => self
                .amounts
                .entry(talk)
                .or_insert_with(|| Amount::none(told)),
            None => {
                self.others.reports += 1;
                self.others.growth += report.growth;
                return;
            }
        };
        amount.growth += report.growth;
        let heard = Heard {
            flow: *report.flow,
            growth: report.growth,
            has_ended: report.event == FlowEvent::End,
            trouble: trouble(report, now),
            verdict: told.verdict.cloned(),
        };
        if let Some(known) = amount.flows.get_mut(&report.flow.key) {
            let before = mem::replace(known, heard);
            known.growth += before.growth;
            known.trouble = known.trouble.or(before.trouble);
        } else if self.flows < MOST_FLOWS {
            self.flows += 1;
            amount.flows.insert(report.flow.key, heard);
        } else {
            amount.has_more = true;
        }
    }

    /// What there was; the next interval begins.
    pub(super) fn take(&mut self) -> Self {
        mem::take(self)
    }
}

impl Amount {
    fn none(told: &Told<'_>) -> Self {
        Self {
            flows: HashMap::new(),
            has_more: false,
            growth: Totals::default(),
            endpoint: told.endpoint.clone(),
            peer: told.remote.map(|remote| (remote.kind, remote.source)),
        }
    }

    /// Its flows that grew.
    pub(super) fn grown(&self) -> impl Iterator<Item = &Heard> {
        let grew = |heard: &&Heard| heard.growth != Totals::default();
        self.flows.values().filter(grew)
    }
}

impl Talk {
    fn of(flow: &Flow, endpoint: &Endpoint, remote: Option<&Identity>) -> Self {
        let direction = flow.direction();
        let asked = match (flow.ports(), direction) {
            (Some((local, _)), Direction::Ingress) => Some(local),
            (Some((_, remote)), Direction::Egress) => Some(remote),
            _ => None,
        };
        Self {
            endpoint: named(&endpoint.identity)
                .unwrap_or_else(|| escaped(&endpoint.interface).into_owned()),
            direction,
            protocol: flow.protocol(),
            peer: remote.and_then(named).unwrap_or_else(|| address(flow)),
            port: asked,
        }
    }
}

/// As people say it: the namespace only where it tells something.
fn named(identity: &Identity) -> Option<String> {
    let name = identity.name.as_deref()?;
    Some(match identity.namespace.as_deref() {
        None | Some("default") => name.to_owned(),
        Some(namespace) => format!("{namespace}/{name}"),
    })
}

fn address(flow: &Flow) -> String {
    flow.remote_ip()
        .map_or_else(|| "-".to_owned(), |address| address.to_string())
}

/// What is wrong with a flow, in a word. Said while it grows; of what times out, when it ends.
fn trouble(report: &Report<'_>, now: &Moment) -> Option<&'static str> {
    let flow = report.flow;
    let state = flow.tcp_state(now.monotonic_ns);
    let ended = report.event == FlowEvent::End;
    match state {
        Some(TcpState::Timeout) if ended => Some("timeout"),
        _ if ended => None,
        Some(TcpState::Refused) => Some("refused"),
        Some(TcpState::Reset) => Some("reset"),
        _ if flow.stats.tx.icmp_errors > 0 || flow.stats.rx.icmp_errors > 0 => Some("unreachable"),
        _ => None,
    }
}
