//! Small clusters by chance: few names, few addresses, so that things meet.
#![expect(clippy::match_bool, reason = "one line for each side of the coin")]

mod policies;

use std::{net::IpAddr, sync::Arc};

use flowmon::policy::{
    Connection, Inventory, Labels, Settings,
    inventory::{Backend, NamedPort, Node, Pod, PodId, Service, ServicePort, TargetPort},
    model::PortProtocol,
    ruleset::ToOwnNode,
    verdict::End,
};

pub(crate) use policies::policies;

/// Chance out of bytes: a shrunk case is a shorter string of smaller ones.
pub(crate) struct Dice<'a>(pub(crate) &'a [u8]);

impl Dice<'_> {
    /// Below `sides`.
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        usize::from(*first) % sides
    }

    pub(crate) fn one_in(&mut self, sides: usize) -> bool {
        self.roll(sides) + 1 == sides
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.roll(of.len())].clone()
    }

    fn some<T>(&mut self, most: usize, mut one: impl FnMut(&mut Self, usize) -> T) -> Vec<T> {
        (0..self.roll(most + 1))
            .map(|number| one(self, number))
            .collect()
    }
}

/// Bytes from a seed, by xorshift64*: any will do.
pub(crate) fn bytes(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |_| {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        u8::try_from(state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 56).unwrap()
    };
    (0..count).map(next).collect()
}

const NAMESPACES: [&str; 3] = ["a", "b", "c"];
const KEYS: [&str; 3] = ["app", "role", "kubernetes.io/metadata.name"];
const VALUES: [&str; 3] = ["a", "b", ""];
const NODES: [&str; 3] = ["n1", "n2", "n3"];
const PORTS: [u16; 3] = [80, 81, 443];
const PROTOCOLS: [PortProtocol; 3] = [PortProtocol::Tcp, PortProtocol::Udp, PortProtocol::Sctp];
/// Pods, nodes, services, outside; some twice, some written otherwise.
const ADDRESSES: [&str; 15] = [
    "10.0.0.1",
    "10.0.0.2",
    "10.0.0.7",
    "10.0.1.1",
    "fd00::1",
    "fd00::2",
    "fd00::7",
    "::ffff:10.0.0.1",
    "172.16.0.1",
    "172.16.0.2",
    "172.16.0.9",
    "10.96.0.1",
    "10.96.0.2",
    "fd96::1",
    "8.8.8.8",
];

pub(crate) fn settings(dice: &mut Dice<'_>) -> Settings {
    Settings {
        ip_block_matches_pods: !dice.one_in(4),
        to_own_node: dice.pick(&[ToOwnNode::Allowed, ToOwnNode::Judged, ToOwnNode::Undecided]),
    }
}

pub(crate) fn inventory(dice: &mut Dice<'_>) -> Inventory {
    let mut inventory = Inventory::default();
    for name in NAMESPACES {
        if !dice.one_in(4) {
            let mut of_it = labels(dice);
            of_it.insert("kubernetes.io/metadata.name".into(), name.into());
            inventory.namespaces.insert(name.into(), of_it);
        }
    }
    for (number, name) in NODES.iter().enumerate() {
        if dice.one_in(2) {
            let node = Node {
                labels: labels(dice),
                addresses: vec![node_address(number)],
                pod_networks: match dice.one_in(2) {
                    true => vec!["10.0.0.0/29".parse().unwrap()],
                    false => Vec::new(),
                },
            };
            inventory.nodes.insert((*name).into(), node);
        }
    }
    for _ in 0..2 + dice.roll(8) {
        let id = pod_id(dice);
        inventory.pods.insert(id, pod(dice));
    }
    for number in 0..dice.roll(4) {
        let id = PodId {
            namespace: dice.pick(&NAMESPACES).into(),
            name: format!("s{number}").into(),
        };
        inventory.services.insert(id, service(dice));
    }
    inventory
}

pub(crate) fn pod_id(dice: &mut Dice<'_>) -> PodId {
    PodId {
        namespace: dice.pick(&NAMESPACES).into(),
        name: dice.pick(&["p", "q", "r"]).into(),
    }
}

fn pod_address(dice: &mut Dice<'_>, network: &str) -> IpAddr {
    format!("{network}{}", 1 + dice.roll(20)).parse().unwrap()
}

fn node_address(number: usize) -> IpAddr {
    format!("172.16.0.{}", number + 1).parse().unwrap()
}

pub(crate) fn pod(dice: &mut Dice<'_>) -> Pod {
    let host_network = dice.one_in(6);
    let number = dice.roll(NODES.len());
    let (node, host_addresses) = match dice.roll(4) {
        0 => (None, Vec::new()),
        1 => (Some(NODES[number].into()), Vec::new()),
        _ => (Some(NODES[number].into()), vec![node_address(number)]),
    };
    let addresses = match (host_network, dice.roll(4)) {
        (true, _) if node.is_some() => vec![node_address(number)],
        (true, _) | (_, 0) => Vec::new(),
        (_, 1) => vec![pod_address(dice, "fd00::")],
        (_, 2) => vec![pod_address(dice, "10.0.0."), pod_address(dice, "fd00::")],
        (_, 3) if dice.one_in(5) => vec![pod_address(dice, "::ffff:10.0.0.")],
        _ => vec![pod_address(dice, "10.0.0.")],
    };
    Pod {
        ports_unknown: false,
        labels: labels(dice),
        addresses,
        owner: None,
        node,
        host_addresses,
        host_network,
        ports: dice.some(3, |dice, _| NamedPort {
            name: port_name(dice),
            protocol: dice.pick(&PROTOCOLS[..2]),
            port: dice.pick(&PORTS),
        }),
    }
}

fn address(dice: &mut Dice<'_>, of: &[&str]) -> IpAddr {
    dice.pick(of).parse().unwrap()
}

fn port_name(dice: &mut Dice<'_>) -> Arc<str> {
    dice.pick(&["http", "dns"]).into()
}

fn labels(dice: &mut Dice<'_>) -> Labels {
    dice.some(2, |dice, _| label(dice)).into_iter().collect()
}

fn label(dice: &mut Dice<'_>) -> (Arc<str>, Arc<str>) {
    (dice.pick(&KEYS[..2]).into(), dice.pick(&VALUES).into())
}

fn service(dice: &mut Dice<'_>) -> Service {
    let all = [
        "10.96.0.1",
        "10.96.0.2",
        "fd96::1",
        "172.16.0.1",
        "10.0.0.4",
    ];
    let endpoints = |dice: &mut Dice<'_>| {
        dice.some(3, |dice, _| Backend {
            address: address(dice, &ADDRESSES),
            port_name: dice.pick(&["", "web"]).into(),
            protocol: dice.pick(&PROTOCOLS[..2]),
            port: dice.pick(&PORTS),
            ready: !dice.one_in(5),
        })
    };
    Service {
        addresses: vec![address(dice, &all); dice.roll(2)],
        ports: dice.some(3, |dice, _| ServicePort {
            name: dice.pick(&["", "web"]).into(),
            protocol: dice.pick(&[PROTOCOLS[0], PROTOCOLS[0], PROTOCOLS[1]]),
            port: dice.pick(&[80, 80, 81]),
            target: match dice.one_in(3) {
                true => TargetPort::Name(port_name(dice)),
                false => TargetPort::Number(dice.pick(&PORTS)),
            },
            node_port: dice.one_in(3).then(|| dice.pick(&PORTS)),
        }),
        selector: (!dice.one_in(6)).then(|| Labels::from([label(dice)])),
        endpoints: dice.one_in(4).then(|| endpoints(dice)),
    }
}

/// Mostly between those who exist.
pub(crate) fn connection(dice: &mut Dice<'_>, inventory: &Inventory) -> Connection {
    let pods = inventory.pods.values().flat_map(|pod| &pod.addresses);
    let services = inventory
        .services
        .values()
        .flat_map(|service| &service.addresses);
    let all: Vec<IpAddr> = pods.chain(services).copied().collect();
    let end = |dice: &mut Dice<'_>| End {
        address: match all.is_empty() || dice.one_in(4) {
            true => address(dice, &ADDRESSES),
            false => dice.pick(&all),
        },
        pod: dice.one_in(12).then(|| pod_id(dice)),
    };
    let initiator = end(dice);
    let mut responder = end(dice);
    if responder.address == initiator.address {
        responder = end(dice);
    }
    let mut connection = Connection {
        initiator,
        responder,
        protocol: dice.pick(&[6, 6, 6, 6, 6, 17, 17, 132, 1, 58]),
        port: (!dice.one_in(8)).then(|| dice.pick(&[80, 80, 80, 81, 443])),
    };
    // A service is mostly asked where it listens.
    let mut services = inventory.services.values();
    let service =
        services.find(|service| service.addresses.contains(&connection.responder.address));
    if let Some(service) = service.filter(|service| !service.ports.is_empty())
        && !dice.one_in(4)
    {
        let port = dice.pick(&service.ports);
        connection.protocol = port.protocol.number();
        connection.port = Some(port.port);
    }
    connection
}
