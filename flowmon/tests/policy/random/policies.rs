//! Policies by chance.

use std::sync::Arc;

use flowmon::policy::{
    Place, Policy, PolicySet, Selector,
    labels::{Operator, Requirement},
    model::{
        Action, Kind, Namespaces, Peer, PeerMatch, Peers, PolicyId, Port, PortMatch, Ports, Rule,
        Subject, Tier,
    },
};

use super::{Dice, KEYS, NAMESPACES, PORTS, PROTOCOLS, VALUES, port_name};

const NETWORKS: [&str; 10] = [
    "0.0.0.0/0",
    "::/0",
    "10.0.0.0/8",
    "10.0.0.2/30",
    "10.0.0.1/32",
    "fd00::/126",
    "10.96.0.0/16",
    "172.16.0.0/12",
    "::ffff:10.0.0.0/104",
    "8.8.8.8/32",
];

pub(crate) fn policies(dice: &mut Dice<'_>) -> PolicySet {
    let network = dice.some(5, network_policy);
    let admin = dice.some(3, |dice, number| cluster_policy(dice, number, true));
    let baseline = dice.some(2, |dice, number| cluster_policy(dice, number, false));
    let all = network.into_iter().chain(admin).chain(baseline);
    PolicySet {
        policies: all.map(Arc::new).collect(),
    }
}

fn network_policy(dice: &mut Dice<'_>, number: usize) -> Policy {
    let namespace: Arc<str> = dice.pick(&NAMESPACES).into();
    let mut rules = |direction: &str| {
        dice.one_in(2).then(|| {
            dice.some(3, |dice, number| {
                let path = format!("spec.{direction}[{number}]");
                let peers = dice.some(3, |dice, _| network_peer(dice, &namespace));
                rule(dice, &path, Action::Accept, peers, true)
            })
        })
    };
    let (ingress, egress) = (rules("ingress"), rules("egress"));
    let pods = selector(dice, 1);
    policy(
        Kind::NetworkPolicy,
        number,
        Tier::NetworkPolicy,
        Namespaces::Named(namespace),
        pods,
        ingress,
        egress,
    )
}

fn cluster_policy(dice: &mut Dice<'_>, number: usize, is_admin: bool) -> Policy {
    let priority = i32::try_from(dice.roll(3)).unwrap();
    let mut rules = |direction: &str| {
        (!dice.one_in(4)).then(|| {
            dice.some(3, |dice, number| {
                let path = format!("spec.{direction}[{number}]");
                let action = dice.pick(&[Action::Accept, Action::Deny, Action::Pass]);
                let is_egress = direction == "egress";
                let mut peers = vec![cluster_peer(dice, is_egress)];
                peers.extend(dice.some(2, |dice, _| cluster_peer(dice, is_egress)));
                rule(dice, &path, action, peers, false)
            })
        })
    };
    let (ingress, egress) = (rules("ingress"), rules("egress"));
    let namespaces = Namespaces::Selected(selector(dice, 1));
    let tier = match is_admin {
        true => Tier::Admin { priority },
        false => Tier::Baseline { priority },
    };
    let pods = selector(dice, 1);
    let number = if is_admin { number } else { number + 10 };
    policy(
        Kind::ClusterNetworkPolicy,
        number,
        tier,
        namespaces,
        pods,
        ingress,
        egress,
    )
}

fn policy(
    kind: Kind,
    number: usize,
    tier: Tier,
    namespaces: Namespaces,
    pods: Selector,
    ingress: Option<Vec<Rule>>,
    egress: Option<Vec<Rule>>,
) -> Policy {
    let namespace = match &namespaces {
        Namespaces::Named(name) => Some(Arc::clone(name)),
        Namespaces::Selected(_) => None,
    };
    Policy {
        id: PolicyId {
            kind,
            namespace,
            name: format!("policy-{number}").into(),
        },
        tier,
        subject: Subject { namespaces, pods },
        ingress,
        egress,
        place: place(""),
    }
}

fn rule(
    dice: &mut Dice<'_>,
    path: &str,
    action: Action,
    peers: Vec<PeerMatch>,
    is_np: bool,
) -> Rule {
    let peer = |(number, what)| Peer {
        what,
        place: place(&format!("{path}.peers[{number}]")),
    };
    let ports = dice.some(3, |dice, number| Port {
        what: port(dice, is_np),
        place: place(&format!("{path}.ports[{number}]")),
    });
    Rule {
        name: None,
        action,
        peers: match peers.is_empty() {
            true => Peers::Any,
            false => Peers::OneOf(peers.into_iter().enumerate().map(peer).collect()),
        },
        ports: if ports.is_empty() {
            Ports::All
        } else {
            Ports::OneOf(ports)
        },
        place: place(path),
    }
}

fn port(dice: &mut Dice<'_>, is_np: bool) -> PortMatch {
    let protocol = dice.pick(&[PROTOCOLS[0], PROTOCOLS[0], PROTOCOLS[1], PROTOCOLS[2]]);
    match dice.roll(4) {
        0 => PortMatch::Protocol(protocol),
        1 => PortMatch::Named {
            protocol: (is_np || dice.one_in(2)).then_some(protocol),
            name: port_name(dice),
        },
        2 => PortMatch::Range {
            protocol,
            first: 80,
            last: 100,
        },
        _ => {
            let first = dice.pick(&PORTS);
            PortMatch::Range {
                protocol,
                first,
                last: first,
            }
        }
    }
}

fn pods(dice: &mut Dice<'_>) -> PeerMatch {
    PeerMatch::Pods {
        namespaces: Namespaces::Selected(selector(dice, 1)),
        pods: selector(dice, 1),
    }
}

fn networks(dice: &mut Dice<'_>) -> ipnetwork::IpNetwork {
    dice.pick(&NETWORKS).parse().unwrap()
}

fn network_peer(dice: &mut Dice<'_>, namespace: &Arc<str>) -> PeerMatch {
    match dice.roll(3) {
        0 => PeerMatch::Pods {
            namespaces: Namespaces::Named(Arc::clone(namespace)),
            pods: selector(dice, 2),
        },
        1 => pods(dice),
        _ => PeerMatch::IpBlock {
            cidr: networks(dice),
            except: dice.some(2, |dice, _| networks(dice)),
        },
    }
}

fn cluster_peer(dice: &mut Dice<'_>, is_egress: bool) -> PeerMatch {
    match dice.roll(if is_egress { 7 } else { 4 }) {
        3 => PeerMatch::Unknown,
        4 => PeerMatch::Nodes(selector(dice, 1)),
        5 => PeerMatch::DomainNames(vec!["example.com".into()]),
        6 => PeerMatch::Networks(dice.some(2, |dice, _| networks(dice))),
        _ => pods(dice),
    }
}

fn selector(dice: &mut Dice<'_>, most: usize) -> Selector {
    let requirements = dice.some(most, |dice, _| {
        let values = |dice: &mut Dice<'_>| {
            let mut values = vec![dice.pick(&VALUES).into()];
            values.extend(dice.some(1, |dice, _| dice.pick(&["a", "b", "c"]).into()));
            values
        };
        Requirement {
            key: dice.pick(&KEYS).into(),
            operator: match dice.roll(5) {
                0 => Operator::NotIn(values(dice)),
                1 => Operator::Exists,
                2 => Operator::DoesNotExist,
                _ => Operator::In(values(dice)),
            },
        }
    });
    Selector { requirements }
}

fn place(path: &str) -> Place {
    Place {
        file: "test".into(),
        line: 0,
        column: 0,
        path: path.to_owned(),
    }
}
