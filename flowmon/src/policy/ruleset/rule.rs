//! Rules, as they are compared with a connection. They stand in the order of the document, with one
//! peer for each peer and one port for each port of it.

use std::{net::IpAddr, sync::Arc};

use super::{
    matching::Match,
    network::Network,
    selectors::{NodeSelector, PodSelector, Selectors},
    who::{Direction, Flow, Who},
};
use crate::policy::{
    Reason,
    model::{Action, PeerMatch, Peers, PortMatch, Ports},
};

/// One rule.
#[derive(Debug)]
pub(in crate::policy) struct Rule {
    pub(in crate::policy) action: Action,
    peers: PeerTests,
    ports: PortTests,
    /// `egress[0]`
    name: Arc<str>,
}

/// The other ends it is about.
#[derive(Debug)]
enum PeerTests {
    Any,
    OneOf(Box<[Peer]>),
}

#[derive(Debug)]
struct Peer {
    test: PeerTest,
    /// `egress[0].to[1]`
    name: Arc<str>,
}

#[derive(Debug)]
enum PeerTest {
    Pods(PodSelector),
    /// Only an `ipBlock` has exceptions, and spares pods where the settings say so.
    Networks {
        any_of: Box<[Network]>,
        except: Box<[Network]>,
        spares_pods: bool,
    },
    Nodes(NodeSelector),
    DomainNames,
    Nobody,
}

/// The ports it is about.
#[derive(Debug)]
enum PortTests {
    All,
    OneOf(Box<[PortTest]>),
}

#[derive(Debug)]
enum PortTest {
    Range {
        protocol: u8,
        first: u16,
        last: u16,
    },
    /// Ports or not.
    Protocol(u8),
    Named {
        protocol: Option<u8>,
        name: Arc<str>,
    },
}

impl Rule {
    /// `ip_block_matches_pods` as in the settings.
    pub(super) fn new(
        rule: &crate::policy::model::Rule,
        selectors: &mut Selectors,
        ip_block_matches_pods: bool,
    ) -> Self {
        // A peer that is not understood must not let more pass than was meant.
        let is_unknown = |peer: &crate::policy::model::Peer| peer.what == PeerMatch::Unknown;
        let fails_closed = match &rule.peers {
            Peers::OneOf(peers) => rule.action != Action::Accept && peers.iter().any(is_unknown),
            Peers::Any => false,
        };
        let peers = match &rule.peers {
            Peers::OneOf(peers) if !fails_closed => {
                let peer = |peer: &crate::policy::model::Peer| Peer {
                    test: PeerTest::new(&peer.what, selectors, ip_block_matches_pods),
                    name: name(&peer.place.path),
                };
                PeerTests::OneOf(peers.iter().map(peer).collect())
            }
            Peers::OneOf(_) | Peers::Any => PeerTests::Any,
        };
        let ports = match &rule.ports {
            Ports::All => PortTests::All,
            Ports::OneOf(ports) => {
                PortTests::OneOf(ports.iter().map(|port| PortTest::new(&port.what)).collect())
            }
        };
        Self {
            action: if fails_closed {
                Action::Deny
            } else {
                rule.action
            },
            peers,
            ports,
            name: name(&rule.place.path),
        }
    }

    /// Does it match, and what of it?
    #[inline]
    pub(in crate::policy) fn matches(&self, flow: &Flow<'_>) -> (Match, &Arc<str>) {
        let ports = self.port_matches(flow);
        if ports == Match::No {
            return (Match::No, &self.name);
        }
        let PeerTests::OneOf(peers) = &self.peers else {
            return (ports, &self.name);
        };
        let mut found = (Match::No, &self.name);
        for peer in peers {
            match peer.test.matches(flow) {
                Match::Yes => return (ports, &peer.name),
                maybe @ Match::Maybe(_) if found.0 == Match::No => found = (maybe, &peer.name),
                _ => {}
            }
        }
        (found.0.and(ports), found.1)
    }

    /// Its own name, without a peer.
    pub(in crate::policy) const fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What becomes of its peers, and of its ports.
    pub(in crate::policy) fn clauses(&self, flow: &Flow<'_>) -> (Match, Match) {
        let peers = match &self.peers {
            PeerTests::Any => Match::Yes,
            PeerTests::OneOf(peers) => any(peers.iter().map(|peer| peer.test.matches(flow))),
        };
        (peers, self.port_matches(flow))
    }

    fn port_matches(&self, flow: &Flow<'_>) -> Match {
        match &self.ports {
            PortTests::All => Match::Yes,
            PortTests::OneOf(ports) => any(ports.iter().map(|port| port.matches(flow))),
        }
    }
}

/// How records call a place.
fn name(path: &str) -> Arc<str> {
    path.strip_prefix("spec.").unwrap_or(path).into()
}

/// Kleene's *or* of them all.
fn any(matches: impl Iterator<Item = Match>) -> Match {
    let mut found = Match::No;
    for one in matches {
        found = found.or(one);
        if found == Match::Yes {
            break;
        }
    }
    found
}

impl PeerTest {
    fn new(peer: &PeerMatch, selectors: &mut Selectors, ip_block_matches_pods: bool) -> Self {
        match peer {
            PeerMatch::Pods { namespaces, pods } => Self::Pods(selectors.pods(namespaces, pods)),
            PeerMatch::IpBlock { cidr, except } => Self::Networks {
                any_of: [cidr.into()].into(),
                except: except.iter().map(Network::from).collect(),
                spares_pods: !ip_block_matches_pods,
            },
            PeerMatch::Networks(networks) => Self::Networks {
                any_of: networks.iter().map(Network::from).collect(),
                except: [].into(),
                spares_pods: false,
            },
            PeerMatch::Nodes(selector) => Self::Nodes(selectors.nodes(selector)),
            PeerMatch::DomainNames(_) => Self::DomainNames,
            PeerMatch::Unknown => Self::Nobody,
        }
    }

    #[inline]
    fn matches(&self, flow: &Flow<'_>) -> Match {
        match self {
            Self::Pods(selector) => match flow.other {
                Who::Pod(pod) => pod.class.selected_by(*selector),
                Who::Node(_) | Who::Outside { .. } => Match::No,
                Who::Unclear(reason) => Match::Maybe(reason),
            },
            Self::Networks {
                any_of,
                except,
                spares_pods,
            } => block(any_of, except, *spares_pods, flow),
            Self::Nodes(selector) => match flow.other {
                Who::Node(Some(node)) => node.selected_by(*selector),
                Who::Outside { maybe_node: false } | Who::Pod(_) => Match::No,
                Who::Node(None) | Who::Outside { maybe_node: true } => {
                    Match::Maybe(Reason::UnknownNode)
                }
                Who::Unclear(reason) => Match::Maybe(reason),
            },
            Self::DomainNames => Match::Maybe(Reason::DomainNames),
            Self::Nobody => Match::No,
        }
    }
}

/// Whether a service's address is taken or that of who answers for it is not defined: what differs
/// there can't be said.
fn block(any_of: &[Network], except: &[Network], spares_pods: bool, flow: &Flow<'_>) -> Match {
    let contains = |address: IpAddr| {
        any_of.iter().any(|network| network.contains(address))
            && !except.iter().any(|network| network.contains(address))
    };
    let as_seen = contains(flow.address);
    let is_match = match flow.other {
        Who::Unclear(Reason::ServiceAddress) => {
            let all = |network: &Network| network.contains_family_of(flow.address);
            if except.is_empty() && any_of.iter().any(all) {
                return Match::Yes;
            }
            return Match::Maybe(Reason::ServiceAddress);
        }
        Who::Pod(_) if spares_pods => false,
        Who::Unclear(reason) if spares_pods && as_seen => return Match::Maybe(reason),
        _ => as_seen,
    };
    match flow.service {
        Some(address) if flow.direction == Direction::Egress && contains(address) != is_match => {
            Match::Maybe(Reason::ServiceAddress)
        }
        _ => is_match.into(),
    }
}

impl PortTest {
    fn new(port: &PortMatch) -> Self {
        match port {
            PortMatch::Protocol(protocol) => Self::Protocol(protocol.number()),
            PortMatch::Range {
                protocol,
                first,
                last,
            } => Self::Range {
                protocol: protocol.number(),
                first: *first,
                last: *last,
            },
            PortMatch::Named { protocol, name } => Self::Named {
                protocol: protocol.map(crate::policy::model::PortProtocol::number),
                name: Arc::clone(name),
            },
        }
    }

    #[inline]
    fn matches(&self, flow: &Flow<'_>) -> Match {
        match *self {
            Self::Protocol(protocol) => (protocol == flow.protocol).into(),
            Self::Range {
                protocol,
                first,
                last,
            } => {
                if protocol != flow.protocol {
                    return Match::No;
                }
                let Some(port) = flow.port else {
                    return Match::Maybe(Reason::UnknownPort);
                };
                (first <= port && port <= last).into()
            }
            Self::Named { protocol, ref name } => {
                if protocol.is_some_and(|protocol| protocol != flow.protocol) {
                    return Match::No;
                }
                named(name, flow)
            }
        }
    }
}

/// Does the responding pod call the flow's port so?
fn named(name: &Arc<str>, flow: &Flow<'_>) -> Match {
    let pod = match flow.responder {
        Who::Pod(pod) => pod,
        Who::Node(_) | Who::Outside { .. } => return Match::No,
        Who::Unclear(reason) => return Match::Maybe(reason),
    };
    let named = |port: &&crate::policy::inventory::NamedPort| {
        port.protocol.number() == flow.protocol && port.name == *name
    };
    let listed = pod.ports.iter().filter(named).map(|named| match flow.port {
        Some(port) => (port == named.port).into(),
        None => Match::Maybe(Reason::UnknownPort),
    });
    let unlisted = pod
        .ports_unknown
        .then_some(Match::Maybe(Reason::UnknownPort));
    any(listed.chain(unlisted))
}
