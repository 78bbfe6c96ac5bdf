#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail by panicking"
)]

use std::net::IpAddr;

use flowmon_common::{Address, FlowKey, FlowStats, Initiator, wire::protocol};

use super::{
    Cast, Observed,
    cast::{Seat, Task},
    word::{self, End},
};
use crate::{
    lab::traffic::Kind,
    model::Flow,
    policy::{
        AskedPort, Connection, Inventory, Outcome, PolicySet, Ruleset, Settings, connection,
        document,
        inventory::{Node, Pod, PodId, Service, ServicePort, TargetPort},
        model::PortProtocol,
    },
};

const POLICY: &str = "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed, namespace: a}
spec: {podSelector: {matchLabels: {app: shut}}}
";

fn id(name: &str) -> PodId {
    PodId {
        namespace: "a".into(),
        name: name.into(),
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// `a/open` at .1 and `a/shut` at .2 of 10.0.0.0/24 on node `one`, `a/other` at .3 on node `two`, `a/twin`
/// and `a/twin2` both at .9, a pod of node `one`'s network, and the service `a/both` of the first two.
fn inventory() -> Inventory {
    let mut inventory = Inventory::default();
    let pod = |app: &str, at: &str, node: &str| Pod {
        labels: [("app".into(), app.into())].into(),
        addresses: vec![address(at)],
        node: Some(node.into()),
        ..Pod::default()
    };
    for (name, pod) in [
        ("open", pod("open", "10.0.0.1", "one")),
        ("shut", pod("shut", "10.0.0.2", "one")),
        ("other", pod("other", "10.0.0.3", "two")),
        ("twin", pod("twin", "10.0.0.9", "one")),
        ("twin2", pod("twin", "10.0.0.9", "one")),
        (
            "proxy",
            Pod {
                host_network: true,
                ..pod("proxy", "172.16.0.1", "one")
            },
        ),
    ] {
        inventory.pods.insert(id(name), pod);
    }
    for (name, at) in [("one", "172.16.0.1"), ("two", "172.16.0.2")] {
        let node = Node {
            addresses: vec![address(at)],
            ..Node::default()
        };
        inventory.nodes.insert(name.into(), node);
    }
    for (name, app, at) in [
        ("store", "shut", "10.96.0.1"),
        ("empty", "nobody", "10.96.0.2"),
    ] {
        let service = Service {
            addresses: vec![address(at)],
            ports: vec![ServicePort {
                name: "".into(),
                protocol: PortProtocol::Tcp,
                port: 80,
                target: TargetPort::Number(8080),
                node_port: None,
            }],
            selector: Some([("app".into(), app.into())].into()),
            endpoints: None,
        };
        inventory.services.insert(id(name), service);
    }
    inventory
}

fn ruleset() -> Ruleset {
    let documents = document::read([("it.yaml".into(), POLICY)]);
    Ruleset::compile(&documents.set, &inventory(), Settings::default())
}

fn asked(from: &str, to: &str, port: &str) -> Connection {
    let port: AskedPort = port.parse().unwrap();
    connection(&inventory(), from, to, port).unwrap()
}

fn cast(connections: &[Connection]) -> Cast {
    let connections: Vec<&Connection> = connections.iter().collect();
    Cast::new(&inventory(), &ruleset(), &connections)
}

#[test]
fn everybody_who_is_needed_is_there_once_and_no_probe_is_made_twice() {
    let cast = cast(&[
        asked("a/open", "a/shut", "80"),
        asked("a/open", "a/shut", "80"),
        asked("a/shut", "a/open", "80"),
        asked("a/open", "a/other", "icmp"),
        asked("a/other", "8.8.8.8", "53/udp"),
        asked("a/proxy", "a/open", "80"),
        asked("172.16.0.1", "a/open", "80"),
        asked("a/open", "a/store", "80"),
    ]);
    let nodes = cast.plan.nodes.iter();
    let nodes: Vec<_> = nodes
        .map(|(node, pods)| {
            let pods: Vec<&str> = pods.iter().map(|pod| &*pod.name).collect();
            (&*node.name, &*node.addresses, pods.join(" "))
        })
        .collect();
    let (one, two) = ([address("172.16.0.1")], [address("172.16.0.2")]);
    assert_eq!(
        nodes,
        [
            ("one", &one[..], "a/open a/shut".to_owned()),
            ("two", &two[..], "a/other".to_owned())
        ]
    );
    assert_eq!(cast.plan.outside.len(), 1);
    assert_eq!(cast.seats(), 6);
    // Of a map that has hardly more entries than flows, the first are evicted.
    assert!(cast.entries() >= 16_384);
    let direct = Task::Direct;
    assert_eq!(
        cast.tasks,
        [
            direct(0),
            direct(0),
            direct(1),
            direct(2),
            direct(3),
            direct(4),
            direct(4),
            Task::Answering(vec![5]),
        ]
    );
    // The service's port is that of its pod.
    assert_eq!(cast.probes[5].kind, Kind::Tcp(8080));
    assert_eq!(cast.probes[5].to, Seat::Pod(0, 1));
    assert_eq!(cast.probes[4].from, Seat::Node(0));
}

#[test]
fn what_no_traffic_can_show_has_a_reason() {
    for (from, to, port, why) in [
        ("a/open", "a/open", "80", "itself"),
        ("8.8.8.8", "9.9.9.9", "80", "neither end"),
        ("a/proxy", "8.8.8.8", "80", "neither end"),
        ("a/open", "a/twin", "80", "more than one has 10.0.0.9"),
        ("a/open", "127.0.0.1", "80", "another machine"),
        ("fe80::1", "fe80::2", "80", "another machine"),
        ("a/open", "a/empty", "80", "nobody answers"),
        ("a/open", "a/store", "81", "a service's"),
    ] {
        let connection = asked(from, to, port);
        let cast = cast(&[connection]);
        let Task::Nothing(said) = &cast.tasks[0] else {
            unreachable!("{to}: {:?}", cast.tasks)
        };
        assert!(said.contains(why), "{said}");
        assert_eq!((cast.probes.len(), cast.plan.outside.len()), (0, 0));
    }
}

/// A flow at `local`, port 40000, with `remote`, port 80, and so many packets each way.
fn flow(local: &str, remote: &str, opened_by: Initiator, tx: u64, rx: u64) -> Flow {
    let mapped = |text: &str| match address(text) {
        IpAddr::V4(v4) => Address::from(v4.to_ipv6_mapped()),
        IpAddr::V6(v6) => Address::from(v6),
    };
    let is_client = opened_by == Initiator::Local;
    let mut stats = FlowStats {
        initiator: opened_by as u8,
        ..FlowStats::default()
    };
    stats.tx.traffic.packets = tx;
    stats.rx.traffic.packets = rx;
    Flow {
        key: FlowKey {
            ifindex: 7,
            local: mapped(local),
            remote: mapped(remote),
            local_port: if is_client { 40_000 } else { 80 },
            remote_port: if is_client { 80 } else { 40_000 },
            protocol: protocol::TCP,
            l3: 4,
            vlan: 0,
        },
        stats,
        last_ns: 0,
    }
}

const OPEN: &str = "10.0.0.1";
const SHUT: &str = "10.0.0.2";

/// What becomes of `a/open -> a/shut, 80` when this is seen at its ends.
fn observed(at_client: Option<&Flow>, at_server: Option<&Flow>, judged_by: &Ruleset) -> Observed {
    let (open, shut) = (id("open"), id("shut"));
    let ends = [End::Pod(&open, at_client), End::Pod(&shut, at_server)];
    let word = word::of(Kind::Tcp(80), &ends, judged_by);
    let connection = asked("a/open", "a/shut", "80");
    word::observed(&Task::Direct(0), &connection, &[word], &ruleset())
}

fn missed(observed: &Observed, why: &str) {
    let Observed::Missed(said) = observed else {
        unreachable!("{observed:?}")
    };
    assert!(said.contains(why), "{said}");
}

#[test]
fn what_both_ends_saw_alike_is_judged() {
    let client = flow(OPEN, SHUT, Initiator::Local, 6, 4);
    let server = flow(SHUT, OPEN, Initiator::Remote, 4, 6);
    let Observed::Seen(seen) = observed(Some(&client), Some(&server), &ruleset()) else {
        unreachable!("it was seen")
    };
    assert_eq!((seen.probes, seen.sent, seen.received), (1, 6, 4));
    assert_eq!(seen.outcome, Outcome::Denied);
    assert_eq!(seen.disagreement, None);
}

#[test]
fn what_one_end_saw_otherwise_is_missed() {
    let client = flow(OPEN, SHUT, Initiator::Local, 6, 4);
    let server = flow(SHUT, OPEN, Initiator::Remote, 4, 6);
    let by = ruleset();
    missed(&observed(None, Some(&server), &by), "at a/open");
    missed(&observed(Some(&client), None, &by), "at a/shut");
    let less = flow(SHUT, OPEN, Initiator::Remote, 4, 5);
    missed(
        &observed(Some(&client), Some(&less), &by),
        "6 and 4 packets were seen, at the other one 5 and 4",
    );
    // Who opened it must be known, and be who did.
    for wrong in [Initiator::Unknown, Initiator::Local] {
        let turned = Flow {
            stats: FlowStats {
                initiator: wrong as u8,
                ..server.stats
            },
            ..server
        };
        missed(
            &observed(Some(&client), Some(&turned), &by),
            "it was seen as",
        );
    }
    let two = flow(OPEN, SHUT, Initiator::Local, 2, 1);
    let ends = [End::Pod(&id("open"), Some(&two)), End::Unwatched];
    assert!(word::exactly(Kind::Udp(80), &ends).is_err(), "one was sent");
    assert_eq!(word::exactly(Kind::Tcp(80), &ends), Ok((2, 1)));
}

#[test]
fn another_verdict_than_without_traffic_is_a_disagreement() {
    let client = flow(OPEN, SHUT, Initiator::Local, 6, 4);
    let server = flow(SHUT, OPEN, Initiator::Remote, 4, 6);
    let without = Ruleset::compile(&PolicySet::default(), &inventory(), Settings::default());
    let Observed::Seen(seen) = observed(Some(&client), Some(&server), &without) else {
        unreachable!("it was seen")
    };
    assert_eq!(seen.outcome, Outcome::Allowed);
    let said = seen.disagreement.unwrap_or_default();
    for part in [
        "it is allowed",
        "by the policies alone denied",
        "no-rule-matched",
    ] {
        assert!(said.contains(part), "{said}");
    }
}
