//! `NetworkPolicy`.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may fail by panicking"
)]

use super::{network_policy, of, policy, problems, wrong};
use crate::policy::model::{Namespaces, PeerMatch, Peers, PortMatch, PortProtocol, Ports, Tier};

/// Specifications with one error each, and what of it.
const REJECTED: &[(&str, &str)] = &[
    ("podSelecter: {}", "6:3 unknown-field spec.podSelecter"),
    (
        "podSelector: {matchLabels: {app: 1}}",
        "wrong-type spec.podSelector.matchLabels[app]",
    ),
    ("podSelector: {matchLabels: {app: yes}}", "wrong-type"),
    ("podSelector: {matchLabels: {app: -a}}", "invalid-selector"),
    ("podSelector: {matchLabels: {/a: b}}", "invalid-selector"),
    (
        "podSelector: {matchExpressions: [{key: a, operator: In}]}",
        "invalid-selector",
    ),
    (
        "podSelector: {matchExpressions: [{key: a, operator: Gt, values: [a]}]}",
        "invalid-selector spec.podSelector.matchExpressions[0].operator",
    ),
    (
        "podSelector: {matchExpressions: [{key: a, operator: Exists, values: [b]}]}",
        "invalid-selector",
    ),
    ("podSelector: []", "wrong-type spec.podSelector"),
    (
        "podSelector: {}\npodSelector: {}",
        "7:3 duplicate-field spec.podSelector",
    ),
    (
        "podSelector: {}\npolicyTypes: [ingress]",
        "invalid-type spec.policyTypes[0]",
    ),
    (
        "podSelector: {}\npolicyTypes: [Egress, Egress, Egress]",
        "invalid-type",
    ),
    ("podSelector: {}\ningress: {}", "wrong-type spec.ingress"),
    (
        "podSelector: {}\ningress: [{from: [{}]}]",
        "empty-peer spec.ingress[0].from[0]",
    ),
    (
        "podSelector: {}\ningress: [{to: []}]",
        "unknown-field spec.ingress[0].to",
    ),
    (
        "podSelector: {}\negress: [{to: [{podSelector: {}, ipBlock: {cidr: 10.0.0.0/8}}]}]",
        "mixed-peer spec.egress[0].to[0].ipBlock",
    ),
    (
        "podSelector: {}\ningress: [{ports: [{port: 0}]}]",
        "invalid-port",
    ),
    (
        "podSelector: {}\ningress: [{ports: [{port: 65536}]}]",
        "invalid-port",
    ),
    (
        "podSelector: {}\ningress: [{ports: [{port: '80'}]}]",
        "invalid-port",
    ),
    (
        "podSelector: {}\ningress: [{ports: [{port: HTTP}]}]",
        "invalid-port",
    ),
    (
        "podSelector: {}\ningress: [{ports: [{port: 80.5}]}]",
        "wrong-type",
    ),
    (
        "podSelector: {}\ningress: [{ports: [{port: 80, endPort: 79}]}]",
        "invalid-port",
    ),
    (
        "podSelector: {}\ningress: [{ports: [{port: web, endPort: 80}]}]",
        "invalid-port",
    ),
    (
        "podSelector: {}\ningress: [{ports: [{endPort: 80}]}]",
        "invalid-port",
    ),
    (
        "podSelector: {}\ningress: [{ports: [{protocol: tcp}]}]",
        "invalid-protocol",
    ),
    (
        "podSelector: {}\ningress: [{ports: [{protocol: ICMP}]}]",
        "invalid-protocol",
    ),
    (
        "podSelector: {}\ningress: [{from: [{ipBlock: {}}]}]",
        "missing-field",
    ),
];

#[test]
fn a_network_policy_as_it_is_meant() {
    let policy = policy(
        "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: cart, namespace: shop, labels: {team: web}, annotations: {Note.example/A: 'x y'}}
spec:
  podSelector:
    matchLabels: {app: cart}
    matchExpressions: [{key: tier, operator: NotIn, values: [a, b]}]
  policyTypes: [Ingress, Egress]
  ingress:
  - from:
    - namespaceSelector: {}
      podSelector: {matchLabels: {app: web}}
    - ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}
    ports:
    - port: 80
    - {protocol: UDP, port: 1000, endPort: 2000}
    - {protocol: TCP, port: metrics}
    - {protocol: SCTP}
",
    );
    assert_eq!(policy.id.to_string(), "shop/cart");
    assert_eq!(policy.tier, Tier::NetworkPolicy);
    assert_eq!((policy.place.line, policy.place.column), (1, 1));
    assert_eq!(policy.subject.namespaces, Namespaces::Named("shop".into()));
    assert_eq!(policy.subject.pods.requirements.len(), 2);
    assert_eq!(policy.egress, Some(vec![]));
    let rule = &policy.ingress.unwrap()[0];
    assert_eq!(rule.place.path, "spec.ingress[0]");
    assert_eq!((rule.place.line, rule.place.column), (10, 5));
    let Peers::OneOf(peers) = &rule.peers else {
        panic!("{:?}", rule.peers)
    };
    assert_eq!(peers[1].place.path, "spec.ingress[0].from[1]");
    assert!(matches!(&peers[0].what, PeerMatch::Pods { pods, .. } if !pods.is_everything()));
    assert!(matches!(&peers[1].what, PeerMatch::IpBlock { except, .. } if except.len() == 1));
    let Ports::OneOf(ports) = &rule.ports else {
        panic!("{:?}", rule.ports)
    };
    let range = |protocol, first, last| PortMatch::Range {
        protocol,
        first,
        last,
    };
    assert_eq!(ports[0].what, range(PortProtocol::Tcp, 80, 80));
    assert_eq!(ports[1].what, range(PortProtocol::Udp, 1000, 2000));
    assert_eq!(ports[3].what, PortMatch::Protocol(PortProtocol::Sctp));
    assert_eq!(ports[3].place.line, 18);
}

#[test]
fn policy_types_have_defaults() {
    for (spec, ingress, egress) in [
        ("podSelector: {}", true, false),
        ("podSelector: {}\npolicyTypes: []", true, false),
        ("podSelector: {}\negress: [{}]", true, true),
        ("podSelector: {}\npolicyTypes: [Egress]", false, true),
        (
            "podSelector: {}\npolicyTypes: [Egress, Egress]",
            false,
            true,
        ),
        ("podSelector: {}\ningress: null\negress:", true, false),
    ] {
        let policy = policy(&network_policy(spec));
        let found = (policy.ingress.is_some(), policy.egress.is_some());
        assert_eq!(found, (ingress, egress), "{spec}");
        assert_eq!(policy.id.to_string(), "default/a");
    }
}

#[test]
fn what_is_valid_and_hardly_meant_is_a_warning() {
    for (spec, want) in [
        (
            "podSelector: {}\negress: []",
            "W 6:3 empty-egress-without-type spec",
        ),
        (
            "podSelector: {}\npolicyTypes: [Ingress]\negress: [{}]",
            "W 8:11 inert-rules spec.egress",
        ),
        ("ingress: []", "W 6:3 no-pod-selector spec"),
        (
            "podSelector: {}\ningress: [{from: []}]",
            "W 7:20 empty-list spec.ingress[0].from",
        ),
        (
            "podSelector: {}\ningress:\n-",
            "W 8:4 null-item spec.ingress[0]",
        ),
        (
            "podSelector: {}\ningress: [{from: [{ipBlock: {cidr: 10.1.2.3/8}}]}]",
            "W 7:38 host-bits spec.ingress[0].from[0].ipBlock.cidr",
        ),
    ] {
        assert_eq!(wrong(spec), [want], "{spec}");
    }
}

#[test]
fn what_the_api_server_rejects_is_an_error() {
    for (spec, want) in REJECTED {
        let mut found = wrong(spec);
        found.retain(|it| it.starts_with("E "));
        assert_eq!(found.len(), 1, "{spec}: {found:?}");
        assert!(found[0].contains(want), "{spec}: {found:?}");
    }
}

#[test]
fn networks_are_checked() {
    let block = |cidr: &str, except: &str| {
        let peer = format!("{{ipBlock: {{cidr: '{cidr}', except: [{except}]}}}}");
        wrong(&format!("podSelector: {{}}\ningress: [{{from: [{peer}]}}]"))
    };
    for cidr in ["10.0.0.0/8", "0.0.0.0/0", "fd00::/8", "::/0", "10.0.0.1/32"] {
        assert_eq!(block(cidr, ""), Vec::<String>::new(), "{cidr}");
    }
    for cidr in [
        "",
        "10.0.0.0",
        "10.0.0/8",
        "10.0.0.0/33",
        "10.0.0.0/08",
        "10.0.0.0/+8",
        "010.0.0.0/8",
        "::ffff:10.0.0.0/104",
        "fd00::/129",
        "host/8",
        " 10.0.0.0/8",
    ] {
        let found = block(cidr, "");
        assert!(
            found.len() == 1 && found[0].contains("invalid-network"),
            "{cidr}: {found:?}"
        );
    }
    assert_eq!(
        block("10.0.0.0/8", "10.1.0.0/16, 10.2.0.0/16"),
        Vec::<String>::new()
    );
    for except in ["10.0.0.0/8", "11.0.0.0/16", "10.0.0.0/7", "'fd00::/64'"] {
        let found = block("10.0.0.0/8", except);
        let errors: Vec<_> = found.iter().filter(|it| it.starts_with("E ")).collect();
        assert!(
            errors.len() == 1 && errors[0].contains("except-outside"),
            "{except}: {found:?}"
        );
    }
}

#[test]
fn names_are_checked() {
    for (metadata, want) in [
        ("{}", "E 3:11 missing-field metadata"),
        ("{generateName: a-}", "E 3:11 missing-field metadata"),
        ("{name: A}", "E 3:18 invalid-name metadata.name"),
        ("{name: a_b}", "E 3:18 invalid-name metadata.name"),
        ("{name: 1}", "E 3:18 wrong-type metadata.name"),
        (
            "{name: a, namespace: a.b}",
            "E 3:32 invalid-name metadata.namespace",
        ),
        (
            "{name: a, lables: {}}",
            "E 3:21 unknown-field metadata.lables",
        ),
        (
            "{name: a, labels: {a: 1}}",
            "E 3:33 wrong-type metadata.labels[a]",
        ),
        (
            "{name: a, labels: {'a b': c}}",
            "E 3:29 invalid-label metadata.labels",
        ),
    ] {
        let text = format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {metadata}\nspec: {{podSelector: {{}}}}\n"
        );
        assert_eq!(problems(&of(&text)), [want], "{metadata}");
    }
}
