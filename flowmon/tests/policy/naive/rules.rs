//! What a rule matches.

use std::{net::IpAddr, sync::Arc};

use flowmon::policy::{
    Labels, Reason, Selector,
    inventory::{Pod, PodId},
    labels::{Operator, Requirement},
    model::{Action, Namespaces, Peer, PeerMatch, Peers, PortMatch, Ports, Rule},
};
use ipnetwork::IpNetwork;

use super::{Answer, Naive, Question, Who};

impl<'a> Naive<'a> {
    /// "Both in one list item: AND." Of a namespace that is not in the inventory only the name is known.
    pub(super) fn selects(
        &self,
        namespaces: &Namespaces,
        pods: &Selector,
        id: &PodId,
        pod: &Pod,
    ) -> Answer {
        let in_namespace = match namespaces {
            Namespaces::Named(name) => Ok(*name == id.namespace),
            Namespaces::Selected(selector) => {
                let listed = self.inventory.namespaces.get(&id.namespace);
                let mut labels = listed.cloned().unwrap_or_default();
                labels.insert(
                    "kubernetes.io/metadata.name".into(),
                    Arc::clone(&id.namespace),
                );
                let one = |requirement: &Requirement| match listed.is_some()
                    || &*requirement.key == "kubernetes.io/metadata.name"
                {
                    true => Ok(satisfies(&labels, &requirement.key, &requirement.operator)),
                    false => Err(Reason::UnknownNamespace),
                };
                selector.requirements.iter().map(one).fold(Ok(true), and)
            }
        };
        and(in_namespace, Ok(matches(pods, &pod.labels)))
    }

    /// "Rule = peers AND ports."
    pub(super) fn rule(&self, rule: &Rule, question: &Question<'a>) -> (Answer, Arc<str>) {
        let name = |path: &str| Arc::from(path.strip_prefix("spec.").unwrap_or(path));
        let ports = match &rule.ports {
            Ports::All => Ok(true),
            Ports::OneOf(ports) => {
                let ports = ports.iter().map(|port| port_matches(&port.what, question));
                ports.fold(Ok(false), or)
            }
        };
        let peers = match &rule.peers {
            Peers::OneOf(peers) if !fails_closed(rule) => peers,
            _ => return (ports, name(&rule.place.path)),
        };
        let peers: Vec<(Answer, &Peer)> = peers
            .iter()
            .map(|peer| (self.peer(&peer.what, question), peer))
            .collect();
        let yes = peers.iter().find(|(answer, _)| *answer == Ok(true));
        let unknown = peers.iter().find(|(answer, _)| answer.is_err());
        match yes.or(unknown) {
            Some((answer, peer)) => (and(*answer, ports), name(&peer.place.path)),
            None => (Ok(false), name(&rule.place.path)),
        }
    }

    fn peer(&self, peer: &PeerMatch, question: &Question<'a>) -> Answer {
        match (peer, question.other) {
            // "Unknown names -> indeterminate."
            (PeerMatch::DomainNames(_), _) => Err(Reason::DomainNames),
            // "Allow/Accept matches nothing."
            (PeerMatch::Unknown, _) => Ok(false),
            (PeerMatch::IpBlock { cidr, except }, _) => {
                let spares_pods = !self.settings.ip_block_matches_pods;
                self.networks(std::slice::from_ref(cidr), except, spares_pods, question)
            }
            (PeerMatch::Networks(networks), _) => self.networks(networks, &[], false, question),
            (_, Who::Unclear(reason)) => Err(reason),
            // "Selectors match only pod-network pods, never external IPs/nodes."
            (PeerMatch::Pods { namespaces, pods }, Who::Pod(id, pod)) => {
                self.selects(namespaces, pods, id, pod)
            }
            (PeerMatch::Pods { .. }, Who::Node(_) | Who::Outside) => Ok(false),
            (PeerMatch::Nodes(_), Who::Pod(..)) => Ok(false),
            (PeerMatch::Nodes(_), Who::Outside) if !self.inventory.nodes.is_empty() => Ok(false),
            (PeerMatch::Nodes(_), Who::Outside | Who::Node(None)) => Err(Reason::UnknownNode),
            (PeerMatch::Nodes(selector), Who::Node(Some(name))) => {
                match self.inventory.nodes.get(name) {
                    Some(node) => Ok(matches(selector, &node.labels)),
                    None if selector.requirements.is_empty() => Ok(true),
                    None => Err(Reason::UnknownNode),
                }
            }
        }
    }

    /// "cidr minus except; host bits are masked; family must match; including pod IPs. DNAT before or
    /// after policy is [U]."
    fn networks(
        &self,
        networks: &[IpNetwork],
        except: &[IpNetwork],
        spares_pods: bool,
        question: &Question<'a>,
    ) -> Answer {
        let contains = |address: IpAddr| {
            networks.iter().any(|network| within(network, address))
                && !except.iter().any(|network| within(network, address))
        };
        let by_service = question.target.by_service.filter(|_| question.is_egress);
        let after = match question.other {
            Who::Unclear(Reason::ServiceAddress) => {
                let is_all = |network: &IpNetwork| {
                    network.prefix() == 0 && network.is_ipv4() == question.address.is_ipv4()
                };
                return match except.is_empty() && networks.iter().any(is_all) {
                    true => Ok(true),
                    false => Err(Reason::ServiceAddress),
                };
            }
            Who::Pod(..) if spares_pods => false,
            Who::Unclear(reason) if spares_pods && contains(question.address) => {
                return Err(reason);
            }
            _ => contains(question.address),
        };
        match by_service {
            Some(before) if contains(before) != after => Err(Reason::ServiceAddress),
            _ => Ok(after),
        }
    }
}

/// "IPv4-mapped IPv6": `::ffff:10.0.0.0/104` is `10.0.0.0/8`.
pub(super) fn within(network: &IpNetwork, address: IpAddr) -> bool {
    match (network, address) {
        (IpNetwork::V6(v6), IpAddr::V4(address)) if v6.prefix() >= 96 => {
            v6.contains(address.to_ipv6_mapped())
        }
        _ => network.contains(address),
    }
}

/// "Allow/Accept matches nothing; Deny AND Pass act as Deny-all."
fn fails_closed(rule: &Rule) -> bool {
    let Peers::OneOf(peers) = &rule.peers else {
        return false;
    };
    let unknown = peers.iter().any(|peer| peer.what == PeerMatch::Unknown);
    unknown && rule.action != Action::Accept
}

pub(super) fn effect(rule: &Rule) -> Action {
    match fails_closed(rule) {
        true => Action::Deny,
        false => rule.action,
    }
}

/// "Protocol must match; int; int+endPort inclusive; string = named port resolved on the DESTINATION
/// pod, name AND protocol; no match for non-pod destinations."
fn port_matches(port: &PortMatch, question: &Question<'_>) -> Answer {
    let protocol = question.protocol;
    match port {
        PortMatch::Protocol(of) => Ok(of.number() == protocol),
        PortMatch::Range { protocol: of, .. } if of.number() != protocol => Ok(false),
        PortMatch::Range { first, last, .. } => match question.target.port {
            Some(port) => Ok((*first..=*last).contains(&port)),
            None => Err(Reason::UnknownPort),
        },
        PortMatch::Named {
            protocol: Some(of), ..
        } if of.number() != protocol => Ok(false),
        PortMatch::Named { name, .. } => match question.target.who {
            Who::Node(_) | Who::Outside => Ok(false),
            Who::Unclear(reason) => Err(reason),
            Who::Pod(_, pod) => (pod.ports.iter())
                .filter(|own| own.name == *name && own.protocol.number() == protocol)
                .map(|own| match question.target.port {
                    Some(port) => Ok(port == own.port),
                    None => Err(Reason::UnknownPort),
                })
                .fold(Ok(false), or),
        },
    }
}

/// "matchLabels AND matchExpressions all ANDed."
fn matches(selector: &Selector, labels: &Labels) -> bool {
    let holds =
        |requirement: &Requirement| satisfies(labels, &requirement.key, &requirement.operator);
    selector.requirements.iter().all(holds)
}

/// "In: key present and value listed. NotIn: key ABSENT or not listed."
fn satisfies(labels: &Labels, key: &str, operator: &Operator) -> bool {
    match (operator, labels.get(key)) {
        (Operator::In(values), Some(value)) => values.contains(value),
        (Operator::In(_), None) => false,
        (Operator::NotIn(values), Some(value)) => !values.contains(value),
        (Operator::NotIn(_), None) => true,
        (Operator::Exists, value) => value.is_some(),
        (Operator::DoesNotExist, value) => value.is_none(),
    }
}

pub(super) fn and(one: Answer, other: Answer) -> Answer {
    match (one, other) {
        (Ok(false), _) | (_, Ok(false)) => Ok(false),
        (Err(reason), _) | (_, Err(reason)) => Err(reason),
        (Ok(true), Ok(true)) => Ok(true),
    }
}

fn or(one: Answer, other: Answer) -> Answer {
    match (one, other) {
        (Ok(true), _) | (_, Ok(true)) => Ok(true),
        (Err(reason), _) | (_, Err(reason)) => Err(reason),
        (Ok(false), Ok(false)) => Ok(false),
    }
}
