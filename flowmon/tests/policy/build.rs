//! Small clusters, in few words.

use std::{net::IpAddr, sync::Arc};

use flowmon::policy::{
    Connection, Inventory, Labels, Place, Policy, Selector,
    inventory::{Pod, PodId},
    labels::{Operator, Requirement},
    model::{
        Action, Kind, Namespaces, Peer, PeerMatch, Peers, PolicyId, Port, PortMatch, PortProtocol,
        Ports, Rule, Subject, Tier,
    },
    verdict::End,
};

/// `"app=web,tier=front"`
pub(crate) fn labels(text: &str) -> Labels {
    let pairs = text.split(',').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs
        .map(|(key, value)| (key.into(), value.into()))
        .collect()
}

/// `matchLabels` of these.
pub(crate) fn selector(text: &str) -> Selector {
    let requirement = |(key, value): (Arc<str>, Arc<str>)| Requirement {
        key,
        operator: Operator::In(vec![value]),
    };
    Selector {
        requirements: labels(text).into_iter().map(requirement).collect(),
    }
}

/// `"shop/cart"`
pub(crate) fn id(text: &str) -> PodId {
    let (namespace, name) = text.split_once('/').unwrap();
    PodId {
        namespace: namespace.into(),
        name: name.into(),
    }
}

/// A pod in the inventory, on node `node`.
pub(crate) fn add_pod(inventory: &mut Inventory, pod_id: &str, address: &str, of_labels: &str) {
    let pod = Pod {
        labels: labels(of_labels),
        addresses: vec![address.parse().unwrap()],
        node: Some("node".into()),
        host_addresses: vec!["172.16.0.1".parse().unwrap()],
        ..Pod::default()
    };
    let pod_id = id(pod_id);
    let name = Arc::clone(&pod_id.namespace);
    inventory
        .namespaces
        .entry(Arc::clone(&name))
        .or_insert_with(|| Labels::from([("kubernetes.io/metadata.name".into(), name)]));
    inventory.pods.insert(pod_id, pod);
}

/// From address to address; port 0 is none.
pub(crate) fn connection(from: &str, to: &str, protocol: u8, port: u16) -> Connection {
    let end = |address: &str| End {
        address: address.parse::<IpAddr>().unwrap(),
        pod: None,
    };
    Connection {
        initiator: end(from),
        responder: end(to),
        protocol,
        port: (port != 0).then_some(port),
    }
}

pub(crate) fn place(path: &str) -> Place {
    Place {
        file: "test".into(),
        line: 0,
        column: 0,
        path: path.to_owned(),
    }
}

/// A network policy about pods of a namespace, that has nothing to say yet.
pub(crate) fn network_policy(name: &str, pods: Selector) -> Policy {
    let of = id(name);
    Policy {
        id: PolicyId {
            kind: Kind::NetworkPolicy,
            namespace: Some(Arc::clone(&of.namespace)),
            name: of.name,
        },
        tier: Tier::NetworkPolicy,
        subject: Subject {
            namespaces: Namespaces::Named(of.namespace),
            pods,
        },
        ingress: None,
        egress: None,
        place: place(""),
    }
}

/// A rule that accepts.
pub(crate) fn rule(path: &str, peers: Vec<PeerMatch>, ports: Vec<PortMatch>) -> Rule {
    let peer = |(number, what)| Peer {
        what,
        place: place(&format!("{path}.from[{number}]")),
    };
    let port = |(number, what)| Port {
        what,
        place: place(&format!("{path}.ports[{number}]")),
    };
    Rule {
        name: None,
        action: Action::Accept,
        peers: if peers.is_empty() {
            Peers::Any
        } else {
            Peers::OneOf(peers.into_iter().enumerate().map(peer).collect())
        },
        ports: if ports.is_empty() {
            Ports::All
        } else {
            Ports::OneOf(ports.into_iter().enumerate().map(port).collect())
        },
        place: place(path),
    }
}

pub(crate) const fn tcp(port: u16) -> PortMatch {
    PortMatch::Range {
        protocol: PortProtocol::Tcp,
        first: port,
        last: port,
    }
}
