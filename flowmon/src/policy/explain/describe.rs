//! Peers, ports and parties in words.

use std::net::IpAddr;

use flowmon_common::wire::protocol;

use super::Party;
use crate::policy::{
    Labels, Selector,
    labels::Operator,
    model::{Namespaces, PeerMatch, Peers, PortMatch, Ports},
    ruleset::who::Who,
};

/// Who is at an end.
pub(super) fn party(who: Who<'_>, address: IpAddr) -> Party {
    let (kind, name, labels) = match who {
        Who::Pod(pod) => {
            let name = format!("{}/{}", pod.id.namespace, pod.id.name);
            ("pod", Some(name), pod.class.labels.clone())
        }
        Who::Node(node) => (
            "node",
            node.map(|node| node.name.to_string()),
            Labels::new(),
        ),
        Who::Outside { .. } => ("external", None, Labels::new()),
        Who::Unclear(_) => ("unknown", None, Labels::new()),
    };
    Party {
        address,
        kind,
        name,
        labels,
    }
}

impl Party {
    /// `pod shop/cart (app=cart)`
    pub(super) fn words(&self) -> String {
        let pairs: Vec<_> = self
            .labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let labels = if pairs.is_empty() {
            String::new()
        } else {
            format!(" ({})", pairs.join(", "))
        };
        match (self.kind, &self.name) {
            ("external", _) => format!("{}, outside the cluster", self.address),
            ("unknown", _) => self.address.to_string(),
            (kind, Some(name)) => format!("{kind} {name}{labels}"),
            (kind, None) => format!("{kind} {}", self.address),
        }
    }
}

/// `TCP 443`, `UDP`, `ICMP`
pub(super) fn port(number: u8, port: Option<u16>) -> String {
    let protocol = match number {
        protocol::TCP => "TCP",
        protocol::UDP => "UDP",
        protocol::SCTP => "SCTP",
        protocol::ICMP => "ICMP",
        protocol::ICMPV6 => "ICMPv6",
        _ => return format!("IP protocol {number}"),
    };
    port.map_or_else(|| protocol.to_owned(), |port| format!("{protocol} {port}"))
}

/// What a rule's ports are.
pub(super) fn ports(ports: &Ports) -> String {
    let Ports::OneOf(ports) = ports else {
        return "all".to_owned();
    };
    let one = |port: &PortMatch| match port {
        PortMatch::Protocol(protocol) => protocol.label().to_owned(),
        PortMatch::Range {
            protocol,
            first,
            last,
        } if first == last => {
            format!("{} {first}", protocol.label())
        }
        PortMatch::Range {
            protocol,
            first,
            last,
        } => {
            format!("{} {first}-{last}", protocol.label())
        }
        PortMatch::Named {
            protocol: Some(protocol),
            name,
        } => {
            format!("{} {name}", protocol.label())
        }
        PortMatch::Named {
            protocol: None,
            name,
        } => name.to_string(),
    };
    let words: Vec<_> = ports.iter().map(|port| one(&port.what)).collect();
    words.join(" or ")
}

/// Who a rule's peers are.
pub(super) fn peers(peers: &Peers) -> String {
    let Peers::OneOf(peers) = peers else {
        return "everyone".to_owned();
    };
    let words: Vec<_> = peers.iter().map(|peer| self::peer(&peer.what)).collect();
    words.join(", or ")
}

fn peer(peer: &PeerMatch) -> String {
    match peer {
        PeerMatch::Pods { namespaces, pods } => {
            let with = if pods.is_everything() {
                String::new()
            } else {
                format!(" with {}", selector(pods))
            };
            match namespaces {
                Namespaces::Named(name) => format!("pods{with} in namespace {name}"),
                Namespaces::Selected(all) if all.is_everything() => {
                    format!("pods{with} in any namespace")
                }
                Namespaces::Selected(some) => {
                    format!("pods{with} in namespaces with {}", selector(some))
                }
            }
        }
        PeerMatch::IpBlock { cidr, except } if except.is_empty() => cidr.to_string(),
        PeerMatch::IpBlock { cidr, except } => format!("{cidr} except {}", list(except)),
        PeerMatch::Networks(networks) => list(networks),
        PeerMatch::Nodes(all) if all.is_everything() => "nodes".to_owned(),
        PeerMatch::Nodes(some) => format!("nodes with {}", selector(some)),
        PeerMatch::DomainNames(names) => list(names),
        PeerMatch::Unknown => "someone that this version does not know".to_owned(),
    }
}

fn list(things: &[impl ToString]) -> String {
    let words: Vec<_> = things.iter().map(ToString::to_string).collect();
    words.join(", ")
}

/// As `kubectl get --selector` takes it.
fn selector(selector: &Selector) -> String {
    let words = selector.requirements.iter().map(|requirement| {
        let key = &requirement.key;
        match &requirement.operator {
            Operator::In(values) => match &values[..] {
                [value] => format!("{key}={value}"),
                values => format!("{key} in ({})", list(values)),
            },
            Operator::NotIn(values) => format!("{key} notin ({})", list(values)),
            Operator::Exists => key.to_string(),
            Operator::DoesNotExist => format!("!{key}"),
        }
    });
    words.collect::<Vec<_>>().join(", ")
}
