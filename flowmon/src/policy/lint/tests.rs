//! Every rule finds what it is for, and is silent where it should be.

use std::sync::Arc;

use super::lint;
use crate::policy::{Severity, document, inventory, rules};

const CLUSTER: &str = "
{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {team: web}}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: kube-system}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: empty, labels: {team: nobody}}}
---
{apiVersion: v1, kind: Node, metadata: {name: node-1, labels: {zone: a}}}
---
apiVersion: v1
kind: Pod
metadata: {name: cart, namespace: shop, labels: {app: cart}}
spec: {containers: [{ports: [{name: http, containerPort: 80}]}]}
status: {phase: Running, podIP: 10.0.0.1}
---
apiVersion: v1
kind: Pod
metadata: {name: redis, namespace: shop, labels: {app: redis}}
status: {phase: Running, podIP: 10.0.0.2}
---
apiVersion: v1
kind: Pod
metadata: {name: dns, namespace: kube-system, labels: {k8s-app: kube-dns}}
spec: {containers: [{ports: [{name: dns, protocol: UDP, containerPort: 53}]}]}
status: {phase: Running, podIP: 10.0.0.3}
---
apiVersion: v1
kind: Pod
metadata: {name: proxy, namespace: kube-system, labels: {app: proxy}}
spec: {hostNetwork: true}
status: {phase: Running, podIP: 192.0.2.1}
---
{apiVersion: v1, kind: Service, metadata: {name: cart, namespace: shop}, spec: {clusterIP: 10.96.0.1}}
";

/// What is found, as `rule path`, with the cluster and without.
fn found(policies: &str, with_inventory: bool) -> Vec<String> {
    let documents = document::read([(Arc::from("policies.yaml"), policies)]);
    assert_eq!(documents.errors().count(), 0, "{:?}", documents.problems);
    let listing = inventory::read([(Arc::from("cluster.yaml"), CLUSTER)]);
    assert_eq!(listing.problems, []);
    let problems = lint(&documents.set, with_inventory.then_some(&listing.inventory));
    let line = |it: &crate::policy::Problem| {
        assert!(it.severity < Severity::Error);
        assert!(rules::meaning(it.rule).is_some(), "{}", it.rule);
        format!("{} {}", it.rule, it.place.path)
            .trim_end()
            .to_owned()
    };
    problems.iter().map(line).collect()
}

fn shop(name: &str, spec: &str) -> String {
    let spec = spec.replace('\n', "\n  ");
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}, namespace: shop}}\nspec:\n  {spec}\n---\n"
    )
}

fn cluster(name: &str, priority: u32, rules: &str) -> String {
    let rules = rules.replace('\n', "\n  ");
    format!(
        "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {{name: {name}}}\nspec:\n  tier: Admin\n  priority: {priority}\n  {rules}\n---\n"
    )
}

/// Checks of one policy in `shop`, with the cluster.
fn finds(spec: &str, want: &[&str]) {
    assert_eq!(found(&shop("a", spec), true), want, "{spec}");
}

#[test]
fn a_policy_that_is_meant_so_is_left_alone() {
    finds(
        "podSelector: {matchLabels: {app: cart}}
policyTypes: [Ingress, Egress]
ingress:
- from: [{podSelector: {matchLabels: {app: redis}}}, {namespaceSelector: {}}]
  ports: [{port: http}]
- from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/24, 10.96.0.0/12]}}]
egress:
- to: [{namespaceSelector: {}, podSelector: {matchLabels: {k8s-app: kube-dns}}}]
  ports: [{protocol: UDP, port: dns}]",
        &[],
    );
}

#[test]
fn selectors_that_nobody_matches() {
    finds(
        "podSelector: {matchLabels: {app: carts}}",
        &["selects-no-pod"],
    );
    let from = |peer: &str| format!("podSelector: {{}}\ningress: [{{from: [{peer}]}}]");
    for (peer, want) in [
        (
            "namespaceSelector: {matchLabels: {team: x}}",
            "matches-no-namespace",
        ),
        (
            "podSelector: {matchLabels: {k8s-app: kube-dns}}",
            "peer-in-other-namespace",
        ),
        (
            "{namespaceSelector: {matchLabels: {team: web}}, podSelector: {matchLabels: {k8s-app: kube-dns}}}",
            "and-matches-nobody",
        ),
        (
            "podSelector: {matchLabels: {app: x}}",
            "peer-matches-no-pod",
        ),
        (
            "namespaceSelector: {matchLabels: {team: nobody}}",
            "peer-matches-no-pod",
        ),
        (
            "podSelector: {matchLabels: {app: proxy}}",
            "peer-matches-no-pod",
        ),
    ] {
        finds(&from(peer), &[&format!("{want} spec.ingress[0].from[0]")]);
    }
    let rules = "subject: {pods: {namespaceSelector: {}, podSelector: {matchLabels: {app: proxy}}}}
egress: [{action: Deny, to: [{nodes: {matchLabels: {zone: b}}}]}]";
    let want = ["selects-no-pod", "matches-no-node spec.egress[0].to[0]"];
    assert_eq!(found(&cluster("a", 1, rules), true), want);
    let rules = "subject: {namespaces: {matchLabels: {team: x}}}";
    assert_eq!(
        found(&cluster("a", 1, rules), true),
        ["matches-no-namespace"]
    );
    assert_eq!(found(&cluster("a", 1, rules), false), Vec::<String>::new());
}

#[test]
fn named_ports_that_nobody_has() {
    let ingress = |port: &str| format!("podSelector: {{}}\ningress: [{{ports: [{port}]}}]");
    finds(&ingress("{port: http}"), &[]);
    let nowhere = "named-port-nowhere spec.ingress[0].ports[0]";
    finds(&ingress("{port: http, protocol: UDP}"), &[nowhere]);
    finds(&ingress("{port: dns, protocol: UDP}"), &[nowhere]);
    let egress = |peer: &str| {
        let dns = "{ports: [{port: 53, protocol: UDP}]}";
        format!("podSelector: {{}}\negress: [{dns}, {{to: [{peer}], ports: [{{port: http}}]}}]")
    };
    finds(&egress("{podSelector: {}}"), &[]);
    let peer = "{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}}";
    finds(
        &egress(peer),
        &["named-port-nowhere spec.egress[1].ports[0]"],
    );
}

#[test]
fn networks_that_hold_the_clusters_addresses() {
    let from = |cidr: &str| {
        format!("podSelector: {{}}\ningress: [{{from: [{{ipBlock: {{cidr: {cidr}}}}}]}}]")
    };
    finds(
        &from("10.0.0.0/8"),
        &["covers-own-addresses spec.ingress[0].from[0]"],
    );
    finds(
        &from("10.96.0.1/32"),
        &["covers-service-addresses spec.ingress[0].from[0]"],
    );
    finds(&from("192.0.2.0/24"), &[]);
    let rules =
        "subject: {namespaces: {}}\negress: [{action: Deny, to: [{networks: [0.0.0.0/0]}]}]";
    let want = ["covers-own-addresses spec.egress[0].to[0]"];
    assert_eq!(found(&cluster("a", 1, rules), true), want);
}

#[test]
fn egress_without_dns() {
    let cart = "podSelector: {matchLabels: {app: cart}}\negress: [{to: [{podSelector: {}}], ports: [{port: 6379}]}]";
    let dns = "podSelector: {}\negress: [{ports: [{port: 53, protocol: UDP}]}]";
    let redis_dns = dns.replace(
        "podSelector: {}",
        "podSelector: {matchLabels: {app: redis}}",
    );
    let nothing = "podSelector: {}\npolicyTypes: [Egress]";
    for with_inventory in [true, false] {
        let found = |policies: &str| found(policies, with_inventory);
        assert_eq!(found(&shop("a", cart)), ["no-dns"]);
        assert_eq!(
            found(&(shop("a", cart) + &shop("b", &redis_dns))),
            ["no-dns"]
        );
        let fine = Vec::<String>::new();
        assert_eq!(found(&(shop("a", cart) + &shop("b", dns))), fine);
        assert_eq!(found(&shop("a", nothing)), fine);
        let all = cart.replace("port: 6379", "protocol: UDP");
        assert_eq!(found(&shop("a", &all)), fine);
    }
}

#[test]
fn or_where_and_was_meant() {
    let from = |peers: &str| format!("podSelector: {{}}\ningress: [{{from: [{peers}]}}]");
    let (pods, namespaces) = (
        "{podSelector: {matchLabels: {app: cart}}}",
        "{namespaceSelector: {matchLabels: {team: web}}}",
    );
    let want = ["or-instead-of-and spec.ingress[0].from[1]"];
    finds(&from(&format!("{pods}, {namespaces}")), &want);
    finds(&from(&format!("{namespaces}, {pods}")), &want);
    finds(&from(&format!("{{podSelector: {{}}}}, {namespaces}")), &[]);
    finds(
        &from(&format!(
            "{pods}, {{ipBlock: {{cidr: 192.0.2.0/24}}}}, {namespaces}"
        )),
        &[],
    );
}

#[test]
fn rules_that_add_nothing() {
    finds(
        "podSelector: {}
ingress:
- ports: [{port: 80}]
- ports: [{port: 1, endPort: 100}, {protocol: UDP}]
- ports: [{port: 80}]",
        &[
            "superfluous-rule spec.ingress[0]",
            "superfluous-rule spec.ingress[2]",
        ],
    );
    let one = shop("a", "podSelector: {}\ningress: [{}]");
    let both = one.clone() + &one.replace("name: a", "name: b");
    assert_eq!(found(&both, true), ["same-as-another"]);
}

#[test]
fn admin_rules_that_come_too_late() {
    let rules = "subject: {namespaces: {}}
ingress:
- {action: Pass, from: [{namespaces: {}}]}
- {action: Deny, from: [{pods: {namespaceSelector: {}, podSelector: {matchLabels: {a: b}}}}]}
egress:
- {action: Deny, to: [{networks: [192.0.2.0/24]}]}
- {action: Accept, to: [{networks: [192.0.2.1/32]}], protocols: [{tcp: {destinationPort: {number: 1}}}]}
- {action: Accept, to: [{networks: [198.51.100.0/24]}]}";
    let want = [
        "shadowed-rule spec.ingress[1]",
        "shadowed-rule spec.egress[1]",
    ];
    assert_eq!(found(&cluster("a", 1, rules), false), want);
    let late = "subject: {namespaces: {matchLabels: {team: web}}}
egress:
- {action: Accept, to: [{networks: [192.0.2.7/32]}]}";
    let first = "subject: {namespaces: {}}
egress:
- {action: Deny, to: [{networks: [192.0.2.0/24]}]}";
    for (priorities, want) in [
        ((1, 2), "shadowed-rule spec.egress[0]"),
        ((2, 2), "same-priority"),
    ] {
        let both = cluster("a", priorities.0, first) + &cluster("b", priorities.1, late);
        assert_eq!(found(&both, true), [want]);
    }
    let reverse = cluster("a", 2, first) + &cluster("b", 1, late);
    assert_eq!(found(&reverse, true), Vec::<String>::new());
    let apart = late.replace("web", "nobody");
    let both = cluster("a", 2, late) + &cluster("b", 2, &apart);
    assert_eq!(found(&both, true), ["selects-no-pod"]);
}

#[test]
fn of_subjects_that_exclude_each_other_the_order_does_not_matter() {
    let policy = |name, expression: &str| {
        let selector = format!("{{matchExpressions: [{expression}]}}");
        let subject =
            format!("subject: {{pods: {{namespaceSelector: {{}}, podSelector: {selector}}}}}");
        cluster(
            name,
            2,
            &format!("{subject}\negress: [{{action: Deny, to: [{{networks: [192.0.2.0/24]}}]}}]"),
        )
    };
    let (a, b) = (
        "{key: app, operator: In, values: [a]}",
        "{key: app, operator: In, values: [b]}",
    );
    let both = "{key: app, operator: In, values: [a, b]}";
    let not_a = "{key: app, operator: NotIn, values: [a]}";
    let (has, has_not) = (
        "{key: app, operator: Exists}",
        "{key: app, operator: DoesNotExist}",
    );
    let other = "{key: tier, operator: In, values: [b]}";
    for (one, other, are_apart) in [
        (a, b, true),
        (a, both, false),
        (a, not_a, true),
        (both, not_a, false),
        (a, has, false),
        (a, has_not, true),
        (has, has_not, true),
        (not_a, has_not, false),
        (a, other, false),
    ] {
        let want: &[&str] = if are_apart { &[] } else { &["same-priority"] };
        for (one, other) in [(one, other), (other, one)] {
            let policies = policy("a", one) + &policy("b", other);
            assert_eq!(found(&policies, false), want, "{one} {other}");
        }
    }
}

#[test]
fn two_generations_of_admin_policies() {
    let both = cluster("a", 1, "subject: {namespaces: {}}")
        + "apiVersion: policy.networking.k8s.io/v1alpha1\nkind: BaselineAdminNetworkPolicy\nmetadata: {name: default}\nspec: {subject: {namespaces: {}}}\n";
    assert_eq!(found(&both, true), ["mixed-generations"]);
}
