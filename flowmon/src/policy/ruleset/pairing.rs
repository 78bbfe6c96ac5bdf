//! Who talks to whom by a connection, as names and verdicts.

use std::net::IpAddr;

use super::{Ruleset, network::normal, who::Who};
use crate::policy::{Connection, Reason, Verdicts, inventory::PodId, verdict::End};

/// Who opened a connection and one who may answer it: there are several behind a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pairing {
    /// Who opened it.
    pub initiator: Found,
    /// Who answers.
    pub responder: Found,
    /// Where it answers; none where the protocol has no ports, or it is not known.
    pub port: Option<u16>,
    /// It answers for a service.
    pub by_service: bool,
    /// What both sides say, if it answers.
    pub verdicts: Verdicts,
}

/// Who is at an end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A pod of the pod network.
    Pod(PodId),
    /// A node, or a pod that uses its network.
    Node(IpAddr),
    /// Someone outside the cluster.
    Outside(IpAddr),
    /// It can't be said.
    Unclear(Reason),
}

impl Ruleset {
    /// Everyone who may answer a connection.
    pub fn pairings(&self, connection: &Connection) -> Vec<Pairing> {
        let initiator = self.end(&connection.initiator);
        let targets = self.targets(connection).into_iter();
        let pairing = |target| Pairing {
            initiator: found(initiator, normal(connection.initiator.address)),
            verdicts: self.judge_target(connection, initiator, target),
            responder: found(target.who, target.address),
            port: target.port,
            by_service: target.service.is_some(),
        };
        targets.map(pairing).collect()
    }

    /// Who is at an end.
    pub fn found(&self, end: &End) -> Found {
        found(self.end(end), normal(end.address))
    }
}

fn found(who: Who<'_>, address: IpAddr) -> Found {
    match who {
        Who::Pod(pod) => Found::Pod(pod.id.clone()),
        Who::Node(_) => Found::Node(address),
        Who::Outside { .. } => Found::Outside(address),
        Who::Unclear(reason) => Found::Unclear(reason),
    }
}
