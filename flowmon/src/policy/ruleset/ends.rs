//! Who is at both ends of a connection, and what each of them says of it.

use std::net::IpAddr;

use super::{
    Ruleset,
    network::normal,
    services::{Answering, Backing},
    side::{self, plain},
    who::{Direction, Flow, Pod, Who},
};
use crate::policy::{
    Connection, Outcome, Reason, Verdict, Verdicts, inventory::ServicePort, verdict::End,
};

/// Who answers, and where.
#[derive(Debug, Clone, Copy)]
pub(in crate::policy) struct Target<'a> {
    pub(in crate::policy) who: Who<'a>,
    pub(in crate::policy) address: IpAddr,
    pub(in crate::policy) port: Option<u16>,
    /// The address of the service it answers for.
    pub(in crate::policy) service: Option<IpAddr>,
}

/// Who is addressed.
pub(super) enum Addressed<'a> {
    /// Just this one.
    One(Target<'a>),
    /// Whoever answers for a port of a service.
    Service(&'a Answering, &'a ServicePort),
}

/// What both sides say.
pub(super) fn judge(ruleset: &Ruleset, connection: &Connection) -> Verdicts {
    let initiator = ruleset.end(&connection.initiator);
    let address = normal(connection.responder.address);
    match ruleset.addressed(connection) {
        Addressed::One(target) => ruleset.both(connection, initiator, target),
        Addressed::Service(service, port) => {
            let targets = service.backings(port, address);
            let targets = targets.map(|backing| ruleset.target(backing, address));
            targets
                .map(|target| ruleset.both(connection, initiator, target))
                .reduce(|one, other| Verdicts {
                    egress: agreed(one.egress, other.egress),
                    ingress: agreed(one.ingress, other.ingress),
                })
                .unwrap_or_else(|| {
                    let nobody = Target {
                        who: Who::Unclear(Reason::ServiceAddress),
                        address,
                        port: None,
                        service: Some(address),
                    };
                    ruleset.both(connection, initiator, nobody)
                })
        }
    }
}

impl Ruleset {
    /// Who is at an end, services aside.
    pub(in crate::policy) fn end(&self, end: &End) -> Who<'_> {
        match &end.pod {
            None => self.addresses.who(normal(end.address)),
            Some(id) => {
                let unknown = Who::Unclear(Reason::UnknownPod);
                self.pods.get(id).map_or(unknown, |pod| known(pod))
            }
        }
    }

    /// Who is addressed by a connection.
    pub(super) fn addressed(&self, connection: &Connection) -> Addressed<'_> {
        let end = &connection.responder;
        let who = self.end(end);
        let mut target = Target {
            who,
            address: normal(end.address),
            port: connection.port,
            service: None,
        };
        let is_node = matches!(who, Who::Node(_));
        let is_service = matches!(who, Who::Unclear(Reason::ServiceAddress));
        if end.pod.is_none() && (is_node || is_service) {
            if let Some((service, port)) = self.service(connection, target.address, is_node) {
                return Addressed::Service(service, port);
            }
            if is_service {
                target.port = None;
                target.service = Some(target.address);
            }
        }
        Addressed::One(target)
    }

    /// The service that listens at an address.
    fn service(
        &self,
        connection: &Connection,
        address: IpAddr,
        is_node: bool,
    ) -> Option<(&Answering, &ServicePort)> {
        let (protocol, port) = (connection.protocol, connection.port?);
        for number in self.addresses.services(address) {
            let service = self.services.get(*number)?;
            if let Some(port) = service.port(protocol, port, false) {
                return Some((service, port));
            }
        }
        if !is_node {
            return None;
        }
        let service = self
            .services
            .get(*self.node_ports.get(&(protocol, port))?)?;
        Some((service, service.port(protocol, port, true)?))
    }

    /// One who answers for a service.
    pub(super) fn target<'a>(&'a self, backing: Backing<'a>, service: IpAddr) -> Target<'a> {
        let (who, address, port) = match backing {
            Backing::Pod(pod, address, port) => (known(pod), address, port),
            Backing::Address(address, port) => (self.addresses.who(address), address, port),
        };
        Target {
            who,
            address,
            port: Some(port),
            service: Some(service),
        }
    }

    fn both(&self, connection: &Connection, initiator: Who<'_>, target: Target<'_>) -> Verdicts {
        let flow = |subject, direction, other, address| Flow {
            subject,
            direction,
            other,
            address,
            service: target.service,
            responder: target.who,
            protocol: connection.protocol,
            port: target.port,
        };
        let address = normal(connection.initiator.address);
        Verdicts {
            egress: self.side(initiator, |subject| {
                flow(subject, Direction::Egress, target.who, target.address)
            }),
            ingress: self.side(target.who, |subject| {
                flow(subject, Direction::Ingress, initiator, address)
            }),
        }
    }

    fn side<'a>(&self, who: Who<'a>, flow: impl Fn(&'a Pod) -> Flow<'a>) -> Option<Verdict> {
        match who {
            Who::Node(_) | Who::Outside { .. } => None,
            _ if self.policies.is_empty() => Some(plain(Outcome::Allowed, Reason::NoPolicies)),
            Who::Unclear(reason) => Some(plain(Outcome::Undecided, reason)),
            Who::Pod(pod) => Some(side::judge(&flow(pod), self.settings)),
        }
    }
}

fn known(pod: &Pod) -> Who<'_> {
    if pod.host_network {
        Who::Node(pod.node.as_deref())
    } else {
        Who::Pod(pod)
    }
}

/// What can be said if either may have been it. An end without policies allows everything.
fn agreed(one: Option<Verdict>, other: Option<Verdict>) -> Option<Verdict> {
    let (one, other) = match (one, other) {
        (Some(one), Some(other)) => (one, other),
        (Some(verdict), None) | (None, Some(verdict)) => {
            let differs = || plain(Outcome::Undecided, Reason::BackendsDiffer);
            return Some(match verdict.outcome {
                Outcome::Denied => differs(),
                Outcome::Allowed | Outcome::Undecided => verdict,
            });
        }
        (None, None) => return None,
    };
    Some(match (one.outcome, other.outcome) {
        (one_outcome, other_outcome) if one_outcome == other_outcome => one,
        (Outcome::Undecided, _) => one,
        (_, Outcome::Undecided) => other,
        _ => plain(Outcome::Undecided, Reason::BackendsDiffer),
    })
}
