//! A cluster of any size, as big ones are: deployments of several replicas, a service each; in every
//! namespace a default deny, DNS, and what its parts say to each other; a few cluster-wide policies.

use std::{net::IpAddr, sync::Arc};

use flowmon::policy::{
    Connection, Inventory, Labels, Place, Policy, PolicySet, Selector,
    inventory::{NamedPort, Node, Pod, PodId, Service, ServicePort, TargetPort},
    labels::{Operator, Requirement},
    model::{
        Action, Kind, Namespaces, Peer, PeerMatch, Peers, PolicyId, Port, PortMatch, PortProtocol,
        Ports, Rule, Subject, Tier,
    },
    verdict::End,
};

/// Its size.
#[derive(Clone, Copy)]
pub(crate) struct Cluster {
    pub(crate) namespaces: usize,
    /// Four to a deployment.
    pub(crate) pods_each: usize,
    pub(crate) policies_each: usize,
}

/// Where to, from a pod of this namespace.
type Responder = Box<dyn FnMut(&mut Chance, usize) -> (IpAddr, u16)>;

const REPLICAS: usize = 4;
const NODES: usize = 100;

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs
        .iter()
        .map(|(key, value)| ((*key).into(), (*value).into()))
        .collect()
}

fn selector(pairs: &[(&str, &str)]) -> Selector {
    let requirement = |(key, value): &(&str, &str)| Requirement {
        key: (*key).into(),
        operator: Operator::In(vec![(*value).into()]),
    };
    Selector {
        requirements: pairs.iter().map(requirement).collect(),
    }
}

impl Cluster {
    fn address(self, namespace: usize, pod: usize) -> IpAddr {
        let number = u32::try_from(namespace * self.pods_each + pod).unwrap();
        IpAddr::V4((0x0a00_0000 + number).into())
    }

    pub(crate) fn inventory(self) -> Inventory {
        let mut inventory = Inventory::default();
        for number in 0..NODES {
            let node = Node {
                labels: labels(&[("kubernetes.io/os", "linux")]),
                addresses: vec![node_address(number)],
                pod_networks: Vec::new(),
            };
            inventory
                .nodes
                .insert(format!("node-{number}").into(), node);
        }
        for namespace in 0..self.namespaces {
            let name: Arc<str> = format!("ns-{namespace}").into();
            let team = format!("team-{}", namespace % 20);
            let of_it = labels(&[("kubernetes.io/metadata.name", &name), ("team", &team)]);
            inventory.namespaces.insert(Arc::clone(&name), of_it);
            for pod in 0..self.pods_each {
                let app = format!("app-{}", pod / REPLICAS);
                let id = PodId {
                    namespace: Arc::clone(&name),
                    name: format!("{app}-{pod}").into(),
                };
                let pod = self.pod(namespace, pod, &app);
                inventory.pods.insert(id, pod);
            }
            for deployment in 0..self.pods_each / REPLICAS {
                let id = PodId {
                    namespace: Arc::clone(&name),
                    name: format!("app-{deployment}").into(),
                };
                inventory
                    .services
                    .insert(id, self.service(namespace, deployment));
            }
        }
        inventory
    }

    fn pod(self, namespace: usize, pod: usize, app: &str) -> Pod {
        let node = (namespace + pod) % NODES;
        Pod {
            labels: labels(&[("app", app), ("pod-template-hash", "5c689d88bb")]),
            addresses: vec![self.address(namespace, pod)],
            owner: None,
            node: Some(format!("node-{node}").into()),
            host_addresses: vec![node_address(node)],
            host_network: false,
            ports_unknown: false,
            ports: vec![NamedPort {
                name: "http".into(),
                protocol: PortProtocol::Tcp,
                port: 8080,
            }],
        }
    }

    fn service(self, namespace: usize, deployment: usize) -> Service {
        let app = format!("app-{deployment}");
        Service {
            addresses: vec![self.service_address(namespace, deployment)],
            ports: vec![ServicePort {
                name: "http".into(),
                protocol: PortProtocol::Tcp,
                port: 80,
                target: TargetPort::Name("http".into()),
                node_port: None,
            }],
            selector: Some(labels(&[("app", &app)])),
            endpoints: None,
        }
    }

    fn service_address(self, namespace: usize, deployment: usize) -> IpAddr {
        let number = u32::try_from(namespace * self.pods_each / REPLICAS + deployment).unwrap();
        IpAddr::V4((0x0a80_0000 + number).into())
    }

    pub(crate) fn policies(self) -> PolicySet {
        let mut policies = Vec::new();
        for namespace in 0..self.namespaces {
            for number in 0..self.policies_each {
                policies.push(Arc::new(network_policy(namespace, number)));
            }
        }
        for number in 0..5 {
            policies.push(Arc::new(admin_policy(number)));
        }
        PolicySet { policies }
    }

    /// Connections of each sort.
    pub(crate) fn connections(self, count: usize) -> Vec<(&'static str, Vec<Connection>)> {
        let mut chance = Chance(1);
        let mut sort = |mut to: Responder| {
            let connection = |_| {
                let namespace = chance.below(self.namespaces);
                let from = self.address(namespace, chance.below(self.pods_each));
                let (address, port) = to(&mut chance, namespace);
                let end = |address| End { address, pod: None };
                Connection {
                    initiator: end(from),
                    responder: end(address),
                    protocol: 6,
                    port: Some(port),
                }
            };
            (0..count).map(connection).collect::<Vec<_>>()
        };
        let pods = self.pods_each;
        let same = move |chance: &mut Chance, namespace| {
            (self.address(namespace, chance.below(pods)), 8080)
        };
        let other = move |chance: &mut Chance, _| {
            let namespace = chance.below(self.namespaces);
            (self.address(namespace, chance.below(pods)), 8080)
        };
        let outside = |chance: &mut Chance, _| {
            let address = u32::try_from(0x0800_0000 + chance.below(1 << 20)).unwrap();
            (IpAddr::V4(address.into()), 443)
        };
        let service = move |chance: &mut Chance, namespace| {
            (
                self.service_address(namespace, chance.below(pods / REPLICAS)),
                80,
            )
        };
        vec![
            ("pod to pod, same namespace", sort(Box::new(same))),
            ("pod to pod, any", sort(Box::new(other))),
            ("pod to outside", sort(Box::new(outside))),
            ("pod to service of 4", sort(Box::new(service))),
        ]
    }
}

/// A linear congruential generator: any will do.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        usize::try_from(self.0 >> 33).unwrap() % end
    }
}

fn node_address(number: usize) -> IpAddr {
    IpAddr::V4((0xac10_0001 + u32::try_from(number).unwrap()).into())
}

/// Of four: a default deny in both directions, DNS, one part to another, and from other teams.
fn network_policy(namespace: usize, number: usize) -> Policy {
    let own = Namespaces::Named(format!("ns-{namespace}").into());
    let parts = [
        format!("app-{}", number % 5),
        format!("app-{}", (number + 1) % 5),
    ];
    let of_part = |part: usize| selector(&[("app", &parts[part])]);
    let of_team = Namespaces::Selected(selector(&[("team", &format!("team-{}", namespace % 20))]));
    let pods = |namespaces: &Namespaces, pods| PeerMatch::Pods {
        namespaces: namespaces.clone(),
        pods,
    };
    let port = |protocol, port| PortMatch::Range {
        protocol,
        first: port,
        last: port,
    };
    let http = PortMatch::Named {
        protocol: Some(PortProtocol::Tcp),
        name: "http".into(),
    };
    let anywhere = PeerMatch::IpBlock {
        cidr: "0.0.0.0/0".parse().unwrap(),
        except: vec![
            "10.0.0.0/8".parse().unwrap(),
            "172.16.0.0/12".parse().unwrap(),
        ],
    };
    let dns = vec![port(PortProtocol::Udp, 53), port(PortProtocol::Tcp, 53)];
    let all = || Selector::default();
    let (of, ingress, egress) = match number % 4 {
        0 => (all(), Some(vec![]), Some(vec![])),
        1 => (
            all(),
            None,
            Some(vec![
                rule(
                    "egress",
                    0,
                    vec![pods(&Namespaces::Selected(all()), all())],
                    dns,
                ),
                rule(
                    "egress",
                    1,
                    vec![anywhere],
                    vec![port(PortProtocol::Tcp, 443)],
                ),
                rule("egress", 2, vec![pods(&own, all())], vec![]),
            ]),
        ),
        2 => (
            of_part(0),
            Some(vec![
                rule(
                    "ingress",
                    0,
                    vec![pods(&own, of_part(1))],
                    vec![http.clone()],
                ),
                rule(
                    "ingress",
                    1,
                    vec![pods(&of_team, of_part(0)), pods(&of_team, of_part(1))],
                    vec![http],
                ),
            ]),
            None,
        ),
        _ => (
            all(),
            Some(vec![rule("ingress", 0, vec![pods(&own, all())], vec![])]),
            None,
        ),
    };
    Policy {
        id: PolicyId {
            kind: Kind::NetworkPolicy,
            namespace: Some(format!("ns-{namespace}").into()),
            name: format!("policy-{number}").into(),
        },
        tier: Tier::NetworkPolicy,
        subject: Subject {
            namespaces: own,
            pods: of,
        },
        ingress,
        egress,
        place: place(String::new()),
    }
}

/// About the pods of one team each.
fn admin_policy(number: usize) -> Policy {
    let team =
        |number: usize| Namespaces::Selected(selector(&[("team", &format!("team-{number}"))]));
    let peers = vec![PeerMatch::Pods {
        namespaces: team(number + 5),
        pods: Selector::default(),
    }];
    let deny = Rule {
        action: Action::Deny,
        ..rule("ingress", 0, peers, vec![])
    };
    Policy {
        id: PolicyId {
            kind: Kind::ClusterNetworkPolicy,
            namespace: None,
            name: format!("admin-{number}").into(),
        },
        tier: Tier::Admin { priority: 10 },
        subject: Subject {
            namespaces: team(number),
            pods: Selector::default(),
        },
        ingress: Some(vec![deny]),
        egress: None,
        place: place(String::new()),
    }
}

fn rule(direction: &str, number: usize, peers: Vec<PeerMatch>, ports: Vec<PortMatch>) -> Rule {
    let path = format!("spec.{direction}[{number}]");
    let peer = |(number, what)| Peer {
        what,
        place: place(format!("{path}.peers[{number}]")),
    };
    let port = |(number, what)| Port {
        what,
        place: place(format!("{path}.ports[{number}]")),
    };
    Rule {
        name: None,
        action: Action::Accept,
        peers: Peers::OneOf(peers.into_iter().enumerate().map(peer).collect()),
        ports: if ports.is_empty() {
            Ports::All
        } else {
            Ports::OneOf(ports.into_iter().enumerate().map(port).collect())
        },
        place: place(path),
    }
}

fn place(path: String) -> Place {
    Place {
        file: "bench".into(),
        line: 0,
        column: 0,
        path,
    }
}
