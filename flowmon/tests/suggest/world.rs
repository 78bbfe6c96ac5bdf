//! Clusters for tests, and flows in them.

use std::net::IpAddr;

use flowmon::{
    audit::{End, Flow},
    model::{Direction, Protocol},
    policy::{
        Inventory, PolicySet, Settings, document,
        inventory::{NamedPort, Node, Owner, Pod, PodId},
        model::PortProtocol,
    },
    suggest::{Format, Report, Seen, Suggestion, suggest},
};

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn id(namespace: &str, name: &str) -> PodId {
    PodId {
        namespace: namespace.into(),
        name: name.into(),
    }
}

/// A cluster of one node, 192.168.7.1, whose pods are in 10.1.0.0/16.
pub(crate) fn cluster() -> Inventory {
    let mut inventory = Inventory::default();
    let node = Node {
        addresses: vec![ip("192.168.7.1")],
        pod_networks: vec!["10.1.0.0/16".parse().unwrap()],
        ..Node::default()
    };
    inventory.nodes.insert("worker".into(), node);
    inventory
}

/// Adds a pod: `shop/cart-0`, `10.1.0.5`, `app=cart,tier=back`, `Deployment/cart` or nothing.
pub(crate) fn pod(inventory: &mut Inventory, name: &str, address: &str, labels: &str, owner: &str) {
    let (namespace, name) = name.split_once('/').unwrap();
    let pairs = labels.split(',').filter_map(|label| label.split_once('='));
    let owner = owner.split_once('/').map(|(kind, name)| Owner {
        kind: kind.into(),
        name: name.into(),
    });
    let pod = Pod {
        labels: pairs
            .map(|(key, value)| (key.into(), value.into()))
            .collect(),
        addresses: vec![ip(address)],
        owner,
        node: Some("worker".into()),
        host_addresses: vec![ip("192.168.7.1")],
        ..Pod::default()
    };
    inventory.pods.insert(id(namespace, name), pod);
}

pub(crate) fn named(name: &str, port: u16) -> NamedPort {
    NamedPort {
        name: name.into(),
        protocol: PortProtocol::Tcp,
        port,
    }
}

/// A flow between two addresses, `local` being where it is seen.
pub(crate) fn flow(
    direction: Direction,
    protocol: u8,
    local: (IpAddr, u16),
    remote: (IpAddr, u16),
) -> Flow {
    let end = |(address, port)| End {
        address,
        port: Some(port),
        pod: None,
        name: None,
    };
    Flow {
        direction,
        protocol: Protocol::Ip(protocol),
        icmp: None,
        at_host: false,
        is_astray: false,
        local: Some(end(local)),
        remote: Some(end(remote)),
    }
}

/// Notes a flow, each as another connection.
pub(crate) fn note(seen: &mut Seen, flow: Flow) {
    let number = seen.sightings().count() as u128;
    let initiator = match flow.direction {
        Direction::Ingress => &flow.remote,
        Direction::Egress | Direction::Unknown => &flow.local,
    };
    let port = initiator.as_ref().and_then(|end| end.port);
    let report = Report {
        flow: number,
        connection: number,
        from_reserved: port.is_some_and(|port| port < 1024),
        bytes: 100,
        ended: false,
        answered: true,
        when: None,
    };
    seen.note(&report, || (flow, false));
}

pub(crate) fn suggestion(flows: &[Flow], inventory: &Inventory) -> Suggestion {
    merged(flows, inventory, "")
}

/// With policies that are there already.
pub(crate) fn merged(flows: &[Flow], inventory: &Inventory, existing: &str) -> Suggestion {
    of(flows, inventory, existing, Format::NetworkPolicy)
}

/// Of a kind.
pub(crate) fn written(flows: &[Flow], inventory: &Inventory, format: Format) -> Suggestion {
    of(flows, inventory, "", format)
}

fn of(flows: &[Flow], inventory: &Inventory, existing: &str, format: Format) -> Suggestion {
    let mut seen = Seen::default();
    for flow in flows {
        note(&mut seen, flow.clone());
    }
    let existing = policies(existing);
    let corners = Settings::default();
    suggest(&seen, inventory, &existing, corners, format, &[])
}

/// Policies as written: all must be in order.
pub(crate) fn policies(yaml: &str) -> PolicySet {
    let read = document::read([("suggestion".into(), yaml)]);
    assert_eq!(read.problems, [], "{yaml}");
    assert!(read.others.is_empty(), "{yaml}");
    read.set
}
