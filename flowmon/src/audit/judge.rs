//! What a flow is to policies: which connection, and whose word counts.

use std::{net::IpAddr, sync::Arc};

use flowmon_common::wire::protocol;

use super::{Party, Who};
use crate::{
    model::{self, Direction, Icmp, Protocol, Verdict},
    policy::{self, Connection, Outcome, Reason, Verdicts, inventory::PodId, model::PolicyId},
};

/// A flow as it was seen at its endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// Who opened it.
    pub direction: Direction,
    /// What it speaks.
    pub protocol: Protocol,
    /// The message, when it is ICMP.
    pub icmp: Option<Icmp>,
    /// The endpoint is the host itself, which no policy binds.
    pub at_host: bool,
    /// It came to the endpoint, and was for an address that is not the endpoint's.
    pub is_astray: bool,
    /// The endpoint's end; none when it is not IP.
    pub local: Option<End>,
    /// The peer's end, alike.
    pub remote: Option<End>,
}

/// One end of a flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Its address.
    pub address: IpAddr,
    /// Its port, where the protocol has one.
    pub port: Option<u16>,
    /// The pod behind it, where that is known better than by the address.
    pub pod: Option<PodId>,
    /// What is behind it and no pod, by name.
    pub name: Option<Arc<str>>,
}

/// What is to be said of a flow.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Judgement {
    /// No policy is about it.
    Not(NotJudged),
    /// The endpoint's own policies say this.
    Is(Judged),
}

/// Why a flow is not judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NotJudged {
    /// It is not IP.
    NotIp,
    /// It is an ICMP error: it belongs to the flow that it quotes, and is allowed if that is.
    IcmpError,
    /// It is `ICMPv6` neighbour discovery (RFC 4861), which to IPv6 is what ARP is to IPv4.
    NeighbourDiscovery,
    /// It tells routers and switches which multicast groups are listened to: IGMP (RFC 3376), MLD
    /// (RFC 3810).
    GroupMembership,
    /// The endpoint is no pod of the pod network.
    NoPod,
}

impl NotJudged {
    /// Its name in summaries.
    pub const fn label(self) -> &'static str {
        match self {
            Self::NotIp => "not-ip",
            Self::IcmpError => "icmp-error",
            Self::NeighbourDiscovery => "neighbour-discovery",
            Self::GroupMembership => "group-membership",
            Self::NoPod => "no-pod",
        }
    }
}

/// A verdict on a flow at its endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Judged {
    /// What the endpoint's own policies come to in the flow's direction.
    pub outcome: Outcome,
    /// The flow's direction.
    pub direction: Direction,
    /// The policy that decided, where one did.
    pub policy: Option<PolicyId>,
    /// The rule of it, where one did.
    pub rule: Option<Arc<str>>,
    /// Why.
    pub reason: Reason,
    /// What the peer's policies come to; none when they have nothing to say.
    pub peer_outcome: Option<Outcome>,
}

impl Judged {
    /// As records tell it.
    pub fn verdict(&self) -> Verdict {
        Verdict {
            outcome: self.outcome,
            direction: self.direction,
            policy: self.policy.as_ref().map(|policy| policy.to_string().into()),
            kind: self.policy.as_ref().map(|policy| policy.kind.label()),
            rule: self.rule.clone(),
            reason: self.reason.label(),
            peer_outcome: self.peer_outcome,
        }
    }
}

impl Flow {
    /// As it was seen at an endpoint. `local` is the pod that it is, and `remote` tells which pod the
    /// peer is, where that is known better than by the address.
    pub fn of(
        flow: &model::Flow,
        at_host: bool,
        local: Option<PodId>,
        remote: impl FnOnce(IpAddr) -> Option<PodId>,
    ) -> Self {
        let (local_port, remote_port) = flow.ports().unzip();
        let end = |address: IpAddr, port, pod| End {
            address: address.to_canonical(),
            port,
            pod,
            name: None,
        };
        Self {
            direction: flow.direction(),
            protocol: flow.protocol(),
            icmp: flow.icmp(),
            at_host,
            is_astray: false,
            local: flow.local_ip().map(|it| end(it, local_port, local)),
            remote: flow.remote_ip().map(|it| end(it, remote_port, remote(it))),
        }
    }

    /// The connection that it is if the endpoint opened it (`egress`) or the peer did (`ingress`).
    /// None for what is not IP.
    pub fn connection(&self, direction: Direction) -> Option<Connection> {
        let Protocol::Ip(protocol) = self.protocol else {
            return None;
        };
        let (local, remote) = (self.local.as_ref()?, self.remote.as_ref()?);
        let (initiator, responder) = match direction {
            Direction::Ingress => (remote, local),
            Direction::Egress | Direction::Unknown => (local, remote),
        };
        let end = |end: &End| policy::verdict::End {
            address: end.address,
            pod: end.pod.clone(),
        };
        Some(Connection {
            initiator: end(initiator),
            responder: end(responder),
            protocol,
            port: responder.port,
        })
    }

    /// The port that was asked, where it is known who asked.
    pub fn asked_port(&self) -> Option<u16> {
        match self.direction {
            Direction::Egress => self.remote.as_ref()?.port,
            Direction::Ingress => self.local.as_ref()?.port,
            Direction::Unknown => None,
        }
    }

    /// Is it of a kind that no policy is about?
    pub fn is_apart(&self) -> Option<NotJudged> {
        let message = self.icmp.map(|icmp| icmp.kind);
        match (self.protocol, message) {
            (Protocol::Ethernet(_), _) => Some(NotJudged::NotIp),
            _ if self.at_host => Some(NotJudged::NoPod),
            // ICMP: unreachable, source quench, time exceeded, parameter problem (RFC 792); ICMPv6: all
            // types below 128 (RFC 4443 2.1).
            (Protocol::Ip(protocol::ICMP), Some(3 | 4 | 11 | 12))
            | (Protocol::Ip(protocol::ICMPV6), Some(0..128)) => Some(NotJudged::IcmpError),
            (Protocol::Ip(protocol::ICMPV6), Some(133..=137)) => {
                Some(NotJudged::NeighbourDiscovery)
            }
            (Protocol::Ip(protocol::IGMP), _)
            | (Protocol::Ip(protocol::ICMPV6), Some(130..=132 | 143)) => {
                Some(NotJudged::GroupMembership)
            }
            _ => None,
        }
    }
}

/// Judges a flow by what `verdicts` says of connections. Where that has no word for the endpoint, `who`
/// tells whether it is something that policies don't bind, or nobody knows what it is.
pub fn judge(flow: &Flow, who: &Who, verdicts: impl Fn(&Connection) -> Verdicts) -> Judgement {
    if let Some(why) = flow.is_apart() {
        return Judgement::Not(why);
    }
    let if_for_it = |received: policy::Verdict| match received.outcome {
        Outcome::Denied if flow.is_astray => policy::Verdict {
            policy: received.policy,
            ..undecided(Reason::OtherDestination)
        },
        _ => received,
    };
    let opened_by = |direction| -> Option<(Option<policy::Verdict>, Option<policy::Verdict>)> {
        let Verdicts { egress, ingress } = verdicts(&flow.connection(direction)?);
        Some(match direction {
            Direction::Ingress => (ingress.map(if_for_it), egress),
            Direction::Egress | Direction::Unknown => (egress, ingress),
        })
    };
    let word = match flow.direction {
        Direction::Egress | Direction::Ingress => opened_by(flow.direction),
        Direction::Unknown => opened_by(Direction::Egress)
            .zip(opened_by(Direction::Ingress))
            .map(|((own, peer), (other_own, other_peer))| {
                (either(own, other_own), either(peer, other_peer))
            }),
    };
    let Some((own, peer)) = word else {
        return Judgement::Not(NotJudged::NotIp);
    };
    let is_known = |end: &End| !matches!(who.is(end), Party::Address(_) | Party::Named(_));
    let own = match own {
        Some(own) => own,
        None if flow.local.as_ref().is_some_and(is_known) => {
            return Judgement::Not(NotJudged::NoPod);
        }
        None => undecided(Reason::UnknownEndpoint),
    };
    Judgement::Is(Judged {
        outcome: own.outcome,
        direction: flow.direction,
        policy: own.policy,
        rule: own.rule,
        reason: own.reason,
        peer_outcome: peer.map(|peer| peer.outcome),
    })
}

/// What is true whoever opened it: their common word, or none.
fn either(one: Option<policy::Verdict>, other: Option<policy::Verdict>) -> Option<policy::Verdict> {
    match (one, other) {
        (Some(one), Some(other)) if one.outcome == other.outcome => Some(one),
        (None, None) => None,
        _ => Some(undecided(Reason::UnknownDirection)),
    }
}

const fn undecided(reason: Reason) -> policy::Verdict {
    policy::Verdict {
        outcome: Outcome::Undecided,
        reason,
        policy: None,
        rule: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Inventory;

    fn end(last: u8, port: Option<u16>) -> End {
        End {
            address: IpAddr::from([10, 1, 0, last]),
            port,
            pod: None,
            name: None,
        }
    }

    /// Between 10.1.0.5, port 43210, and 10.1.0.9, port 6379.
    fn flow(direction: Direction, protocol: u8) -> Flow {
        Flow {
            direction,
            protocol: Protocol::Ip(protocol),
            icmp: None,
            at_host: false,
            is_astray: false,
            local: Some(end(5, Some(43210))),
            remote: Some(end(9, Some(6379))),
        }
    }

    fn word(outcome: Outcome, reason: Reason) -> policy::Verdict {
        policy::Verdict {
            outcome,
            reason,
            policy: None,
            rule: None,
        }
    }

    const DENIED: Outcome = Outcome::Denied;
    const ALLOWED: Outcome = Outcome::Allowed;

    /// What comes of a direction when these are the words of the initiator and the responder.
    fn judged(
        direction: Direction,
        egress: Option<Outcome>,
        ingress: Option<Outcome>,
    ) -> Judgement {
        let word = |outcome| word(outcome, Reason::RuleMatched);
        judge(&flow(direction, 6), &Who::default(), |_| Verdicts {
            egress: egress.map(word),
            ingress: ingress.map(word),
        })
    }

    fn is(
        outcome: Outcome,
        reason: Reason,
        peer_outcome: Option<Outcome>,
    ) -> impl Fn(Direction) -> Judgement {
        move |direction| {
            Judgement::Is(Judged {
                outcome,
                direction,
                policy: None,
                rule: None,
                reason,
                peer_outcome,
            })
        }
    }

    #[test]
    fn the_asked_port_is_the_responders() {
        let connection = |direction| {
            let connection = flow(direction, 6).connection(direction);
            connection.map(|it| (it.initiator.address, it.responder.address, it.port))
        };
        let (local, remote) = (end(5, None).address, end(9, None).address);
        let out = Some((local, remote, Some(6379)));
        let incoming = Some((remote, local, Some(43210)));
        assert_eq!(connection(Direction::Egress), out);
        assert_eq!(connection(Direction::Ingress), incoming);
    }

    #[test]
    fn only_the_endpoints_own_side_is_its_outcome() {
        let matched = Reason::RuleMatched;
        let both = (Some(DENIED), Some(ALLOWED));
        assert_eq!(
            judged(Direction::Egress, both.0, both.1),
            is(DENIED, matched, Some(ALLOWED))(Direction::Egress)
        );
        assert_eq!(
            judged(Direction::Ingress, both.0, both.1),
            is(ALLOWED, matched, Some(DENIED))(Direction::Ingress)
        );
        assert_eq!(
            judged(Direction::Egress, Some(ALLOWED), None),
            is(ALLOWED, matched, None)(Direction::Egress)
        );
    }

    #[test]
    fn an_unknown_direction_is_decided_only_if_both_agree() {
        let unknown = Direction::Unknown;
        assert_eq!(
            judged(unknown, Some(DENIED), Some(DENIED)),
            is(DENIED, Reason::RuleMatched, Some(DENIED))(unknown)
        );
        assert_eq!(
            judged(unknown, Some(DENIED), Some(ALLOWED)),
            is(
                Outcome::Undecided,
                Reason::UnknownDirection,
                Some(Outcome::Undecided)
            )(unknown)
        );
    }

    #[test]
    fn nobody_is_blamed_for_what_was_for_somebody_else() {
        let astray = |direction, outcome| {
            let flow = Flow {
                is_astray: true,
                ..flow(direction, 6)
            };
            judge(&flow, &Who::default(), |_| Verdicts {
                egress: None,
                ingress: Some(word(outcome, Reason::RuleMatched)),
            })
        };
        assert_eq!(
            astray(Direction::Ingress, DENIED),
            is(Outcome::Undecided, Reason::OtherDestination, None)(Direction::Ingress)
        );
        assert_eq!(
            astray(Direction::Ingress, ALLOWED),
            is(ALLOWED, Reason::RuleMatched, None)(Direction::Ingress)
        );
    }

    #[test]
    fn an_endpoint_nobody_knows_is_undecided_and_a_known_one_that_is_no_pod_is_not_judged() {
        let nothing = |_: &Connection| Verdicts {
            egress: None,
            ingress: None,
        };
        let flow = flow(Direction::Egress, 6);
        assert_eq!(
            judge(&flow, &Who::default(), nothing),
            is(Outcome::Undecided, Reason::UnknownEndpoint, None)(Direction::Egress)
        );
        let mut inventory = Inventory::default();
        let node = policy::inventory::Node {
            addresses: vec![end(5, None).address],
            ..policy::inventory::Node::default()
        };
        inventory.nodes.insert("worker".into(), node);
        let no_pod = Judgement::Not(NotJudged::NoPod);
        assert_eq!(judge(&flow, &Who::new(&inventory), nothing), no_pod);
        let at_host = Flow {
            at_host: true,
            ..flow
        };
        assert_eq!(judge(&at_host, &Who::default(), nothing), no_pod);
    }

    #[test]
    fn what_no_policy_is_about_is_not_judged() {
        let icmp = |protocol, kind| Flow {
            icmp: Some(Icmp {
                kind,
                code: 0,
                id: None,
            }),
            ..flow(Direction::Egress, protocol)
        };
        let arp = Flow {
            protocol: Protocol::Ethernet(0x0806),
            ..flow(Direction::Unknown, 6)
        };
        for (flow, expected) in [
            (arp, Some(NotJudged::NotIp)),
            (icmp(1, 3), Some(NotJudged::IcmpError)),
            (icmp(1, 11), Some(NotJudged::IcmpError)),
            (icmp(1, 8), None),
            (icmp(58, 1), Some(NotJudged::IcmpError)),
            (icmp(58, 128), None),
            (icmp(58, 135), Some(NotJudged::NeighbourDiscovery)),
            (icmp(58, 143), Some(NotJudged::GroupMembership)),
            (flow(Direction::Egress, 2), Some(NotJudged::GroupMembership)),
            (flow(Direction::Egress, 6), None),
        ] {
            assert_eq!(flow.is_apart(), expected, "{flow:?}");
        }
    }
}
