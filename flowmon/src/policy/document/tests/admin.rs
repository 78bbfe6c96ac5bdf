//! The kinds of `policy.networking.k8s.io`.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may fail by panicking"
)]

use super::{of, policy, problems};
use crate::policy::model::{Action, PeerMatch, Peers, PortMatch, Ports, Tier};

fn document(kind: &str, version: &str, spec: &str) -> String {
    let spec = spec.replace('\n', "\n  ");
    format!(
        "apiVersion: policy.networking.k8s.io/{version}\nkind: {kind}\nmetadata: {{name: default}}\nspec:\n  {spec}\n"
    )
}

#[test]
fn a_cluster_network_policy_as_it_is_meant() {
    let text = document(
        "ClusterNetworkPolicy",
        "v1alpha2",
        "tier: Baseline
priority: 7
subject: {pods: {namespaceSelector: {}, podSelector: {matchLabels: {a: b}}}}
egress:
- name: out
  action: Pass
  to:
  - nodes: {}
  - networks: [10.0.0.0/8, 'fd00::/8']
  protocols:
  - tcp: {destinationPort: {number: 80}}
  - udp: {destinationPort: {range: {start: 1, end: 5}}}
- action: Accept
  to: [{domainNames: ['*.Example.org.']}]
- action: Deny
  to: [{namespaces: {}}]
  protocols: [{destinationNamedPort: web}]",
    );
    let found = policy(&text);
    assert_eq!(policy(&text.replace("v1alpha2", "v1beta1")), found);
    assert_eq!(found.tier, Tier::Baseline { priority: 7 });
    assert_eq!(found.ingress, None);
    assert_eq!(found.id.namespace, None);
    let rules = found.egress.unwrap();
    assert_eq!(rules[0].action, Action::Pass);
    assert_eq!(rules[0].name.as_deref(), Some("out"));
    assert_eq!(rules[0].place.path, "spec.egress[0]");
    let Peers::OneOf(peers) = &rules[1].peers else {
        panic!("{:?}", rules[1])
    };
    assert_eq!(
        peers[0].what,
        PeerMatch::DomainNames(vec!["*.example.org".into()])
    );
}

#[test]
fn admin_and_baseline_policies_as_they_are_meant() {
    let found = policy(&document(
        "AdminNetworkPolicy",
        "v1alpha1",
        "priority: 10
subject: {namespaces: {}}
ingress:
- action: Allow
  from: [{pods: {namespaceSelector: {}, podSelector: {}}}]
  ports:
  - portNumber: {port: 53, protocol: UDP}
  - portRange: {start: 1, end: 2}
  - namedPort: web",
    ));
    assert_eq!(found.tier, Tier::Admin { priority: 10 });
    let Ports::OneOf(ports) = &found.ingress.unwrap()[0].ports else {
        panic!()
    };
    assert!(matches!(
        &ports[2].what,
        PortMatch::Named { protocol: None, .. }
    ));

    let baseline = policy(&document(
        "BaselineAdminNetworkPolicy",
        "v1alpha1",
        "subject: {namespaces: {}}\ningress: [{action: Deny, from: [{namespaces: {}}]}]",
    ));
    assert_eq!(baseline.tier, Tier::Baseline { priority: 0 });
}

#[test]
fn what_the_definitions_reject_is_an_error() {
    for (spec, want) in [
        ("subject: {namespaces: {}}", "missing-field spec"),
        (
            "priority: 1001\nsubject: {namespaces: {}}",
            "invalid-priority spec.priority",
        ),
        ("priority: 1\nsubject: {}", "not-exactly-one spec.subject"),
        (
            "priority: 1\nsubject: {namespaceSelector: {}}",
            "old-shape spec.subject",
        ),
        (
            "egress: [{action: Accept, to: [{namespaces: {}}]}]",
            "invalid-action",
        ),
        (
            "egress: [{action: Allow, to: []}]",
            "list-length spec.egress[0].to",
        ),
        ("egress: [{action: Allow}]", "missing-field spec.egress[0]"),
        (
            "egress: [{action: Allow, to: [{}]}]",
            "not-exactly-one spec.egress[0].to[0]",
        ),
        (
            "egress: [{action: Allow, to: [{namespaces: {}, nodes: {}}]}]",
            "not-exactly-one",
        ),
        (
            "egress: [{action: Allow, to: [{namespaces: {sameLabels: [a]}}]}]",
            "old-shape",
        ),
        (
            "egress: [{action: Allow, to: [{pods: {podSelector: {}}}]}]",
            "missing-field",
        ),
        (
            "egress: [{action: Deny, to: [{domainNames: [a.b]}]}]",
            "invalid-peer",
        ),
        (
            "egress: [{action: Allow, to: [{domainNames: ['a.*']}]}]",
            "invalid-domain-name",
        ),
        (
            "egress: [{action: Allow, to: [{networks: [10.0.0.0]}]}]",
            "invalid-network",
        ),
        (
            "egress: [{action: Allow, to: [{networks: [10.0.0.0/8, 10.0.0.0/8]}]}]",
            "duplicate-item",
        ),
        (
            "ingress: [{action: Allow, from: [{networks: [10.0.0.0/8]}]}]",
            "unknown-field",
        ),
        (
            "egress: [{action: Allow, to: [{nodes: {}}], ports: [{namedPort: a}]}]",
            "named-port-without-pods",
        ),
        (
            "egress: [{action: Allow, to: [{nodes: {}}], ports: []}]",
            "list-length",
        ),
        (
            "egress: [{action: Allow, to: [{nodes: {}}], ports: [{portRange: {start: 2, end: 2}}]}]",
            "invalid-port",
        ),
        (
            "egress: [{action: Allow, to: [{nodes: {}}], ports: [{portNumber: {port: 0}}]}]",
            "invalid-port",
        ),
    ] {
        let rules_only = spec.starts_with("egress") || spec.starts_with("ingress");
        let before = if rules_only {
            "priority: 1\nsubject: {namespaces: {}}\n"
        } else {
            ""
        };
        let text = document("AdminNetworkPolicy", "v1alpha1", &format!("{before}{spec}"));
        let documents = of(&text);
        let found = problems(&documents);
        let is_there = |it: &String| it.starts_with("E ") && it.contains(want);
        assert!(found.iter().any(is_there), "{spec}: {found:?}");
        assert!(documents.set.policies.is_empty(), "{spec}");
    }
}

#[test]
fn there_is_one_baseline_policy() {
    let text = document(
        "BaselineAdminNetworkPolicy",
        "v1alpha1",
        "subject: {namespaces: {}}",
    );
    let found = problems(&of(&text.replace("name: default", "name: other")));
    assert_eq!(found, ["E 1:1 invalid-name "]);
}

#[test]
fn host_bits_are_an_error_from_v1beta1_on() {
    let spec = "tier: Admin\npriority: 1\nsubject: {namespaces: {}}\negress: [{action: Deny, to: [{networks: [10.1.0.0/8]}]}]";
    for (version, severity) in [("v1alpha2", "W"), ("v1beta1", "E")] {
        let found = problems(&of(&document("ClusterNetworkPolicy", version, spec)));
        let want = format!("{severity} 8:44 host-bits spec.egress[0].to[0].networks[0]");
        assert_eq!(found, [want]);
    }
}
