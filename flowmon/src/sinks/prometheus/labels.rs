//! What a time series is of.

use std::{net::IpAddr, sync::Arc};

use super::{
    families::{self, Family},
    page::Labels,
};
use crate::{
    model::{Direction, Endpoint, EndpointKind, Identity, Outcome, Protocol, Report, Way},
    sinks::Told,
};

/// An endpoint by its name, or by its interface's; several interfaces of one endpoint are one place.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) namespace: Option<Arc<str>>,
    pub(super) name: Arc<str>,
}

/// The other end, and what it has to do with this one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Peer {
    Named {
        direction: Direction,
        protocol: Protocol,
        port: Option<u16>,
        kind: Option<EndpointKind>,
        namespace: Option<Arc<str>>,
        name: Name,
    },
    /// All that have no series of their own.
    Other(Option<Direction>),
}

/// A name or, without, an address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Name {
    Known(Arc<str>),
    Address(IpAddr),
    Absent,
}

/// What is counted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    Bytes(Way),
    Packets(Way),
    Flows(Option<Outcome>),
    Undecided(&'static str),
    Violations(Breach),
    ViolationBytes(Breach),
    Retransmits(Way),
    Failed(&'static str),
}

/// What was broken: by which policy it is denied, and why, and what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Breach {
    pub(super) policy: Option<Arc<str>>,
    pub(super) reason: &'static str,
    pub(super) port: Option<u16>,
}

impl Place {
    pub(super) fn of(endpoint: &Endpoint) -> Self {
        let Identity {
            namespace, name, ..
        } = &*endpoint.identity;
        Self {
            namespace: namespace.clone(),
            name: match name {
                Some(name) => Arc::clone(name),
                None => Arc::from(endpoint.interface.as_str()),
            },
        }
    }

    /// All endpoints that have no series of their own.
    pub(super) fn other() -> Self {
        Self {
            namespace: None,
            name: Arc::from(families::OTHER),
        }
    }

    pub(super) fn labels(&self) -> Labels {
        let mut labels = Labels::default();
        labels.push("namespace", self.namespace.as_deref());
        labels.push("endpoint", Some(&*self.name));
        labels
    }
}

impl Peer {
    pub(super) fn of(told: &Told<'_>, with_port: bool) -> Self {
        let flow = told.report.flow;
        let name = told.remote.and_then(|remote| remote.name.as_ref());
        Self::Named {
            direction: flow.direction(),
            protocol: flow.protocol(),
            port: flow.asked_port().filter(|_| with_port),
            kind: told.remote.map(|remote| remote.kind),
            namespace: told.remote.and_then(|remote| remote.namespace.clone()),
            name: match (name, flow.remote_ip()) {
                (Some(name), _) => Name::Known(Arc::clone(name)),
                (None, Some(address)) => Name::Address(address),
                (None, None) => Name::Absent,
            },
        }
    }

    pub(super) const fn other(&self) -> Self {
        match self {
            Self::Named { direction, .. } => Self::Other(Some(*direction)),
            Self::Other(direction) => Self::Other(*direction),
        }
    }

    pub(super) fn add_to(&self, labels: &mut Labels) {
        match self {
            Self::Named {
                direction,
                protocol,
                port,
                kind,
                namespace,
                name,
            } => {
                labels.push("direction", Some(direction.label()));
                labels.push("peer_kind", kind.map(EndpointKind::label));
                labels.push("peer_namespace", namespace.as_deref());
                match name {
                    Name::Known(name) => labels.push("peer", Some(&**name)),
                    Name::Address(address) => labels.push("peer", Some(&address.to_string())),
                    Name::Absent => {}
                }
                labels.push("protocol", Some(&protocol.to_string()));
                labels.push("port", port.map(|port| port.to_string()).as_deref());
            }
            Self::Other(direction) => {
                labels.push("direction", direction.map(Direction::label));
                labels.push("peer", Some(families::OTHER));
            }
        }
    }
}

impl What {
    /// Of a peer without a name: fewer ports, so fewer series.
    pub(super) fn of_other(self) -> Self {
        self.map_breach(|breach| Breach {
            port: None,
            ..breach
        })
    }

    /// Of an endpoint without a name: so few that there is always room.
    pub(super) fn of_nobody(self) -> Self {
        self.map_breach(|breach| Breach {
            port: None,
            policy: None,
            ..breach
        })
    }

    fn map_breach(self, change: impl FnOnce(Breach) -> Breach) -> Self {
        match self {
            Self::Violations(breach) => Self::Violations(change(breach)),
            Self::ViolationBytes(breach) => Self::ViolationBytes(change(breach)),
            what => what,
        }
    }

    pub(super) const fn is_of_breach(&self) -> bool {
        matches!(self, Self::Violations(_) | Self::ViolationBytes(_))
    }

    pub(super) const fn family(&self) -> &'static Family {
        match self {
            Self::Bytes(_) => &families::FLOW_BYTES,
            Self::Packets(_) => &families::FLOW_PACKETS,
            Self::Flows(_) => &families::FLOWS,
            Self::Undecided(_) => &families::UNDECIDED,
            Self::Violations(_) => &families::VIOLATIONS,
            Self::ViolationBytes(_) => &families::VIOLATION_BYTES,
            Self::Retransmits(_) => &families::RETRANSMITS,
            Self::Failed(_) => &families::FAILED_CONNECTIONS,
        }
    }

    pub(super) fn add_to(&self, labels: &mut Labels) {
        match self {
            Self::Bytes(way) | Self::Packets(way) | Self::Retransmits(way) => {
                labels.push("way", Some(way.label()));
            }
            Self::Flows(outcome) => labels.push("verdict", outcome.map(Outcome::label)),
            Self::Undecided(reason) | Self::Failed(reason) => {
                labels.push("reason", Some(*reason));
            }
            Self::Violations(breach) | Self::ViolationBytes(breach) => {
                labels.push("policy", breach.policy.as_deref());
                labels.push("reason", Some(breach.reason));
                // With the label `port` on all flow series it is there already, and the same.
                if !labels.have("port") {
                    let port = breach.port.map(|port| port.to_string());
                    labels.push("port", port.as_deref());
                }
            }
        }
    }
}

/// What a report says in each way of how much a counter of one direction grew.
pub(super) fn grown(
    report: &Report<'_>,
    count: impl Fn(&flowmon_common::DirectionStats) -> u64,
) -> [(Way, u64); 2] {
    let before = report.before.map(|flow| &flow.stats);
    let now = &report.flow.stats;
    let growth = |now, before: Option<_>| count(now).saturating_sub(before.map_or(0, &count));
    [
        (Way::Tx, growth(&now.tx, before.map(|stats| &stats.tx))),
        (Way::Rx, growth(&now.rx, before.map(|stats| &stats.rx))),
    ]
}
