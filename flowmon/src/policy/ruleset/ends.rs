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
    let judge = |target| ruleset.judge_target(connection, initiator, target);
    match ruleset.addressed(connection) {
        Addressed::One(target) => judge(target),
        Addressed::Service(service, port) => {
            let address = normal(connection.responder.address);
            let targets = service.backings(port, address);
            let verdicts = targets.map(|backing| judge(ruleset.target(backing, address)));
            verdicts
                .reduce(Verdicts::either)
                .unwrap_or_else(|| judge(Target::nobody(address)))
        }
    }
}

impl Verdicts {
    /// What can be said if either may have been it.
    #[must_use]
    pub fn either(self, other: Self) -> Self {
        Self {
            egress: agreed(self.egress, other.egress),
            ingress: agreed(self.ingress, other.ingress),
        }
    }
}

impl Ruleset {
    /// The connections of which a service makes this one, one for each who answers; none when it
    /// goes to no service.
    pub fn answering(&self, connection: &Connection) -> Option<Vec<Connection>> {
        let Addressed::Service(service, port) = self.addressed(connection) else {
            return None;
        };
        let address = normal(connection.responder.address);
        let answering = service.backings(port, address).map(|backing| {
            let Target { address, port, .. } = self.target(backing, address);
            let pod = match backing {
                Backing::Pod(pod, ..) => Some(pod.id.clone()),
                Backing::Address(..) => None,
            };
            Connection {
                responder: End { address, pod },
                port,
                ..connection.clone()
            }
        });
        Some(answering.collect())
    }

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
                target = Target::nobody(target.address);
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

    /// Everyone who may answer.
    pub(in crate::policy) fn targets(&self, connection: &Connection) -> Vec<Target<'_>> {
        match self.addressed(connection) {
            Addressed::One(target) => vec![target],
            Addressed::Service(service, port) => {
                let address = normal(connection.responder.address);
                let targets = service.backings(port, address);
                let mut targets: Vec<_> = targets.map(|it| self.target(it, address)).collect();
                if targets.is_empty() {
                    targets.push(Target::nobody(address));
                }
                targets
            }
        }
    }

    /// What both sides say, if this one answers.
    pub(in crate::policy) fn judge_target(
        &self,
        connection: &Connection,
        initiator: Who<'_>,
        target: Target<'_>,
    ) -> Verdicts {
        let side = |who, direction| match who {
            Who::Node(_) | Who::Outside { .. } => None,
            _ if self.policies.is_empty() => Some(plain(Outcome::Allowed, Reason::NoPolicies)),
            Who::Unclear(reason) => Some(plain(Outcome::Undecided, reason)),
            Who::Pod(pod) => {
                let flow = target.flow(connection, initiator, pod, direction);
                Some(side::judge(&flow, self.settings))
            }
        };
        Verdicts {
            egress: side(initiator, Direction::Egress),
            ingress: side(target.who, Direction::Ingress),
        }
    }
}

impl<'a> Target<'a> {
    /// A service that nobody is known to answer for.
    const fn nobody(service: IpAddr) -> Self {
        Self {
            who: Who::Unclear(Reason::ServiceAddress),
            address: service,
            port: None,
            service: Some(service),
        }
    }

    /// The connection, as one side looks at it.
    pub(in crate::policy) fn flow(
        self,
        connection: &Connection,
        initiator: Who<'a>,
        subject: &'a Pod,
        direction: Direction,
    ) -> Flow<'a> {
        let (other, address) = match direction {
            Direction::Egress => (self.who, self.address),
            Direction::Ingress => (initiator, normal(connection.initiator.address)),
        };
        Flow {
            subject,
            direction,
            other,
            address,
            service: self.service,
            responder: self.who,
            protocol: connection.protocol,
            port: self.port,
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
