//! Every kind of end and of traffic, and what no traffic can show.

use std::fmt::Write as _;

use netns_tests::require_root;
use serde_json::Value;

use super::{Folder, TestResult, played};

const POLICY: &str = "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed, namespace: a}
spec:
  podSelector: {matchLabels: {app: shut}}
  policyTypes: [Ingress, Egress]
  ingress:
    - from: [{podSelector: {matchLabels: {app: open}}}]
      ports: [{port: http}, {port: 53, protocol: UDP}]
  egress:
    - to: [{ipBlock: {cidr: 203.0.113.0/24}}, {ipBlock: {cidr: 2001:db8::/32}}]
";

/// Packets of the initiator and of the responder, where they are sure.
type Packets = Option<[u64; 2]>;

/// `from`, `to`, `port`, `expect`.
const SEEN: [(&str, &str, &str, &str, Packets); 16] = [
    ("a/open", "a/shut", "http", "allowed", None),
    ("a/open", "a/shut", "8080", "allowed", None),
    ("a/open", "a/shut", "80", "denied", None),
    ("a/open", "a/shut", "53/udp", "allowed", Some([1, 1])),
    ("a/open", "a/shut", "54/udp", "denied", Some([1, 1])),
    ("a/open", "a/shut", "icmp", "undecided", Some([1, 1])),
    ("a/shut", "near", "443", "allowed", None),
    ("a/shut", "far", "443", "denied", None),
    ("a/open", "far", "icmp", "allowed", Some([1, 1])),
    ("far", "a/shut", "http", "denied", None),
    ("far", "a/open", "8080", "allowed", None),
    // IPv6, alone and of two.
    ("b/six", "a/shut", "http", "denied", None),
    ("a/open", "b/six", "53/udp", "allowed", Some([1, 1])),
    ("a/shut", "near6", "443", "allowed", None),
    ("a/shut", "8.8.8.8", "53/udp", "denied", Some([1, 1])),
    ("a/open", "b/six", "icmpv6", "allowed", Some([1, 1])),
];

/// What no traffic can show, and a word of why.
const UNTRIED: [(&str, &str, &str, &str); 4] = [
    ("a/shut", "a/shut", "http", "itself"),
    ("near", "far", "443", "neither end is a pod"),
    ("a/open", "127.0.0.1", "80", "another machine"),
    ("a/open", "224.0.0.1", "80", "another machine"),
];

fn expectation(scenario: &mut String, from: &str, to: &str, port: &str, expect: &str) {
    let _infallible = writeln!(
        scenario,
        "  - {{from: '{from}', to: '{to}', port: {port}, expect: {expect}}}"
    );
}

#[test]
fn every_kind_of_end_and_of_traffic_is_seen() -> TestResult {
    if !require_root("every_kind_of_end_and_of_traffic_is_seen") {
        return Ok(());
    }
    let mut scenario = String::from(
        "policies: policy.yaml
pods:
  a/open: {labels: {app: open}, addresses: [10.0.0.1, 'fd00::1']}
  a/shut: {labels: {app: shut}, addresses: [10.0.0.2, 'fd00::2'], ports: {http: 8080}}
  b/six: {addresses: 'fd00::6'}
outside: {near: 203.0.113.9, far: 198.51.100.9, near6: '2001:db8::9'}
expect:
",
    );
    for (from, to, port, expect, _) in SEEN {
        expectation(&mut scenario, from, to, port, expect);
    }
    for (from, to, port, _) in UNTRIED {
        expectation(&mut scenario, from, to, port, "allowed");
    }
    let folder = Folder::new("ends")?;
    folder.file("policy.yaml", POLICY)?;
    let file = folder.file("ends.scenario.yaml", &scenario)?;
    let (finished, cells, summary) = played(&file)?;
    let of = |from: &str, to: &str, port: &str| -> Vec<&Value> {
        let is_it = |cell: &&Value| {
            let is = |key: &str, word: &str| cell[key] == word;
            is("from", from) && is("to", to) && is("port", port)
        };
        cells.iter().filter(is_it).collect()
    };
    let mut seen = 0;
    for (from, to, port, expect, packets) in SEEN {
        for cell in of(from, to, port) {
            seen += 1;
            let traffic = &cell["traffic"];
            assert_eq!(
                (&cell["met"], &traffic["result"], &traffic["outcome"]),
                (&true.into(), &"seen".into(), &expect.into()),
                "{cell}"
            );
            let counts = ["packets_sent", "packets_received"].map(|it| traffic[it].as_u64());
            match packets {
                Some(packets) => assert_eq!(counts, packets.map(Some), "{cell}"),
                None => assert!(counts[0] >= Some(4) && counts[1] >= Some(3), "{cell}"),
            }
        }
    }
    // Five are of two that have addresses of both families.
    assert_eq!(seen, SEEN.len() + 5, "{}", finished.stderr);
    for (from, to, port, why) in UNTRIED {
        let found = of(from, to, port);
        assert!(!found.is_empty());
        for cell in found {
            let traffic = &cell["traffic"];
            assert_eq!(traffic["result"], "untried", "{cell}");
            let said = traffic["why"].as_str().unwrap_or_default();
            assert!(said.contains(why), "{cell}");
        }
    }
    assert_eq!(summary["seen"], seen);
    assert_eq!(finished.code, Some(i32::from(summary["failed"] != 0)));
    Ok(())
}

/// Two nodes with a pod each, and a pod of the first node's network.
const INVENTORY: &str = "apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Namespace, metadata: {name: a}}
- apiVersion: v1
  kind: Node
  metadata: {name: one}
  spec: {podCIDRs: [10.1.0.0/24]}
  status: {addresses: [{type: InternalIP, address: 172.16.0.1}]}
- apiVersion: v1
  kind: Node
  metadata: {name: two}
  spec: {podCIDRs: [10.2.0.0/24]}
  status: {addresses: [{type: InternalIP, address: 172.16.0.2}]}
- apiVersion: v1
  kind: Pod
  metadata: {namespace: a, name: near, labels: {app: shut}}
  spec: {nodeName: one, containers: [{name: c, image: i}]}
  status: {phase: Running, podIP: 10.1.0.5, hostIP: 172.16.0.1}
- apiVersion: v1
  kind: Pod
  metadata: {namespace: a, name: away, labels: {app: open}}
  spec: {nodeName: two, containers: [{name: c, image: i}]}
  status: {phase: Running, podIP: 10.2.0.5, hostIP: 172.16.0.2}
- apiVersion: v1
  kind: Pod
  metadata: {namespace: a, name: proxy, labels: {app: open}}
  spec: {nodeName: one, hostNetwork: true, containers: [{name: c, image: i}]}
  status: {phase: Running, podIP: 172.16.0.1, hostIP: 172.16.0.1}
";

#[test]
fn pods_of_several_nodes_and_the_nodes_themselves_are_seen() -> TestResult {
    if !require_root("pods_of_several_nodes_and_the_nodes_themselves_are_seen") {
        return Ok(());
    }
    let mut scenario = String::from("policies: policy.yaml\ninventory: inventory.yaml\nexpect:\n");
    let cells = [
        ("a/away", "a/near", "53/udp", "allowed"),
        ("a/away", "a/near", "80", "denied"),
        // Its own node always reaches a pod, another one does not.
        ("172.16.0.1", "a/near", "80", "allowed"),
        ("a/proxy", "a/near", "80", "allowed"),
        ("172.16.0.2", "a/near", "80", "denied"),
        ("a/near", "172.16.0.2", "443", "denied"),
        ("a/away", "a/proxy", "443", "allowed"),
    ];
    for (from, to, port, expect) in cells {
        expectation(&mut scenario, from, to, port, expect);
    }
    let folder = Folder::new("nodes")?;
    folder.file("policy.yaml", POLICY)?;
    folder.file("inventory.yaml", INVENTORY)?;
    let file = folder.file("nodes.scenario.yaml", &scenario)?;
    let (finished, told, summary) = played(&file)?;
    assert_eq!(finished.code, Some(0), "{told:#?} {}", finished.stderr);
    assert_eq!(summary["seen"], cells.len());
    Ok(())
}
