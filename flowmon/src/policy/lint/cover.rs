//! Whether one thing matches whatever another does, or nothing of it. "No" means: not for certain.

use ipnetwork::IpNetwork;

use crate::policy::{
    Selector,
    labels::{Operator, Requirement},
    model::{Namespaces, Peer, PeerMatch, Peers, Port, PortMatch, Ports, Rule, Subject},
};

/// `wide` matches all that `narrow` does, actions aside.
pub(super) fn rule(wide: &Rule, narrow: &Rule) -> bool {
    peers(&wide.peers, &narrow.peers) && ports(&wide.ports, &narrow.ports)
}

/// `wide` selects all pods that `narrow` does.
pub(super) fn subject(wide: &Subject, narrow: &Subject) -> bool {
    namespaces(&wide.namespaces, &narrow.namespaces) && selector(&wide.pods, &narrow.pods)
}

/// No pod can be selected by both, whichever there are.
pub(super) fn are_apart(one: &Subject, other: &Subject) -> bool {
    let namespaces = match (&one.namespaces, &other.namespaces) {
        (Namespaces::Named(one), Namespaces::Named(other)) => one != other,
        (Namespaces::Selected(one), Namespaces::Selected(other)) => exclude(one, other),
        _ => false,
    };
    namespaces || exclude(&one.pods, &other.pods)
}

fn exclude(one: &Selector, other: &Selector) -> bool {
    let contradict = |one: &Requirement, other: &Requirement| {
        one.key == other.key
            && match (&one.operator, &other.operator) {
                (Operator::In(one), Operator::In(other)) => {
                    !one.iter().any(|value| other.contains(value))
                }
                (Operator::In(these), Operator::NotIn(not))
                | (Operator::NotIn(not), Operator::In(these)) => {
                    these.iter().all(|value| not.contains(value))
                }
                (Operator::In(_) | Operator::Exists, Operator::DoesNotExist)
                | (Operator::DoesNotExist, Operator::In(_) | Operator::Exists) => true,
                _ => false,
            }
    };
    let mut all = one.requirements.iter();
    all.any(|one| {
        other
            .requirements
            .iter()
            .any(|other| contradict(one, other))
    })
}

fn selector(wide: &Selector, narrow: &Selector) -> bool {
    wide.requirements
        .iter()
        .all(|it| narrow.requirements.contains(it))
}

fn namespaces(wide: &Namespaces, narrow: &Namespaces) -> bool {
    match (wide, narrow) {
        (Namespaces::Named(wide), Namespaces::Named(narrow)) => wide == narrow,
        (Namespaces::Selected(wide), Namespaces::Selected(narrow)) => selector(wide, narrow),
        (Namespaces::Selected(wide), Namespaces::Named(_)) => wide.is_everything(),
        (Namespaces::Named(_), Namespaces::Selected(_)) => false,
    }
}

fn peers(wide: &Peers, narrow: &Peers) -> bool {
    match (wide, narrow) {
        (Peers::Any, _) => true,
        (Peers::OneOf(_), Peers::Any) => false,
        (Peers::OneOf(wide), Peers::OneOf(narrow)) => {
            let covered = |narrow: &Peer| wide.iter().any(|wide| peer(&wide.what, &narrow.what));
            !narrow.is_empty() && narrow.iter().all(covered)
        }
    }
}

fn peer(wide: &PeerMatch, narrow: &PeerMatch) -> bool {
    match (wide, narrow) {
        (
            PeerMatch::Pods {
                namespaces: wide_in,
                pods: wide,
            },
            PeerMatch::Pods {
                namespaces: narrow_in,
                pods: narrow,
            },
        ) => namespaces(wide_in, narrow_in) && selector(wide, narrow),
        (PeerMatch::Nodes(wide), PeerMatch::Nodes(narrow)) => selector(wide, narrow),
        (PeerMatch::Networks(wide), PeerMatch::Networks(narrow)) => narrow
            .iter()
            .all(|narrow| wide.iter().any(|wide| network(*wide, *narrow))),
        (
            PeerMatch::IpBlock {
                cidr: wide,
                except: but,
            },
            PeerMatch::IpBlock { cidr, except },
        ) => {
            let is_excepted = |but: &IpNetwork| except.iter().any(|it| network(*it, *but));
            let is_apart = |but: &IpNetwork| !network(*cidr, *but) && !network(*but, *cidr);
            network(*wide, *cidr) && but.iter().all(|but| is_excepted(but) || is_apart(but))
        }
        (PeerMatch::DomainNames(wide), PeerMatch::DomainNames(narrow)) => {
            narrow.iter().all(|name| wide.contains(name))
        }
        _ => false,
    }
}

fn network(wide: IpNetwork, narrow: IpNetwork) -> bool {
    wide.contains(narrow.network()) && wide.prefix() <= narrow.prefix()
}

fn ports(wide: &Ports, narrow: &Ports) -> bool {
    match (wide, narrow) {
        (Ports::All, _) => true,
        (Ports::OneOf(_), Ports::All) => false,
        (Ports::OneOf(wide), Ports::OneOf(narrow)) => {
            let covered = |narrow: &Port| wide.iter().any(|wide| port(&wide.what, &narrow.what));
            !narrow.is_empty() && narrow.iter().all(covered)
        }
    }
}

fn port(wide: &PortMatch, narrow: &PortMatch) -> bool {
    match (wide, narrow) {
        (
            PortMatch::Protocol(wide),
            PortMatch::Protocol(narrow)
            | PortMatch::Range {
                protocol: narrow, ..
            }
            | PortMatch::Named {
                protocol: Some(narrow),
                ..
            },
        ) => wide == narrow,
        (
            PortMatch::Range {
                protocol: wide,
                first: from,
                last: to,
            },
            PortMatch::Range {
                protocol,
                first,
                last,
            },
        ) => wide == protocol && from <= first && last <= to,
        (PortMatch::Named { .. }, PortMatch::Named { .. }) => wide == narrow,
        _ => false,
    }
}
