//! Admin, network policies, baseline: who is asked when, and whose word is final.

use super::world::{World, cnp, np, v1alpha1};

const CLUSTER: &str = "
    namespace a team=red
    namespace b team=blue
    node node1 172.16.0.1 zone=one
    node node2 172.16.0.2 zone=two
    pod a/p 10.0.0.1,fd00::1 app=p
    pod a/q 10.0.0.2 app=q 8080/tcp/http 53/udp/http
    pod b/r 10.0.1.1 app=r 80/tcp/http";

pub(crate) const QUESTION: &str = "a/p > b/r 80/tcp";

pub(crate) fn world(policies: &[String]) -> World {
    World::new(CLUSTER, policies)
}

/// With egress rules, about every pod.
pub(crate) fn admin(name: &str, priority: u32, rules: &str) -> String {
    let spec = format!(
        "{{tier: Admin, priority: {priority}, subject: {{namespaces: {{}}}}, egress: [{rules}]}}"
    );
    cnp(name, &spec)
}

pub(crate) fn baseline(name: &str, priority: u32, rules: &str) -> String {
    admin(name, priority, rules).replace("tier: Admin", "tier: Baseline")
}

pub(crate) const ACCEPT: &str = "{action: Accept, to: [{namespaces: {}}]}";
pub(crate) const DENY: &str = "{action: Deny, to: [{namespaces: {}}]}";
pub(crate) const PASS: &str = "{action: Pass, to: [{namespaces: {}}]}";
const OTHERS: &str = "{action: Deny, to: [{namespaces: {matchLabels: {team: green}}}]}";

fn closed() -> String {
    np("a/closed", "{podSelector: {}, policyTypes: [Egress]}")
}

pub(crate) fn open() -> String {
    np(
        "a/open",
        "{podSelector: {}, policyTypes: [Egress], egress: [{}]}",
    )
}

#[test]
fn lower_priorities_are_asked_first_whatever_the_order_of_the_files() {
    for first in [0, 1] {
        let mut policies = [admin("high", 10, DENY), admin("low", 9, ACCEPT)];
        policies.swap(0, first);
        assert_eq!(
            world(&policies).egress(QUESTION),
            "allowed rule-matched low egress[0].to[0]"
        );
    }
}

#[test]
fn the_first_rule_that_matches_decides() {
    let rules = [OTHERS, ACCEPT, DENY].join(", ");
    let question = world(&[admin("one", 1, &rules)]).egress(QUESTION);
    assert_eq!(question, "allowed rule-matched one egress[1].to[0]");
    let rules = [DENY, ACCEPT].join(", ");
    assert_eq!(
        world(&[admin("one", 1, &rules)]).egress(QUESTION),
        "denied rule-matched one egress[0].to[0]"
    );
}

#[test]
fn pass_skips_the_rest_of_the_tier() {
    let passed = [admin("one", 1, PASS), admin("two", 2, DENY)];
    assert_eq!(world(&passed).egress(QUESTION), "allowed not-isolated");
    let [one, two] = passed;
    let isolated = world(&[one.clone(), two.clone(), closed()]);
    assert_eq!(isolated.egress(QUESTION), "denied no-rule-matched a/closed");
    let to_baseline = world(&[one, two, baseline("base", 1, DENY)]);
    assert_eq!(
        to_baseline.egress(QUESTION),
        "denied rule-matched base egress[0].to[0]"
    );
    // Within one policy too.
    let rules = [PASS, DENY].join(", ");
    assert_eq!(
        world(&[admin("one", 1, &rules)]).egress(QUESTION),
        "allowed not-isolated"
    );
}

#[test]
pub(crate) fn admin_beats_network_policies_and_these_beat_baseline() {
    assert_eq!(
        world(&[admin("one", 1, ACCEPT), closed()]).egress(QUESTION),
        "allowed rule-matched one egress[0].to[0]"
    );
    assert_eq!(
        world(&[admin("one", 1, DENY), open()]).egress(QUESTION),
        "denied rule-matched one egress[0].to[0]"
    );
    assert_eq!(
        world(&[open(), baseline("base", 1, DENY)]).egress(QUESTION),
        "allowed rule-matched a/open egress[0]"
    );
    assert_eq!(
        world(&[admin("one", 1, OTHERS), closed()]).egress(QUESTION),
        "denied no-rule-matched a/closed"
    );
}

#[test]
fn an_isolated_pod_never_reaches_baseline() {
    assert_eq!(
        world(&[closed(), baseline("base", 1, ACCEPT)]).egress(QUESTION),
        "denied no-rule-matched a/closed"
    );
    // The other direction is another matter.
    let ingress = np("a/in", "{podSelector: {}, policyTypes: [Ingress]}");
    assert_eq!(
        world(&[ingress, baseline("base", 1, DENY)]).egress(QUESTION),
        "denied rule-matched base egress[0].to[0]"
    );
}

#[test]
fn a_pass_in_baseline_is_the_end_of_it() {
    let world = world(&[baseline("base", 1, PASS), baseline("next", 2, DENY)]);
    assert_eq!(world.egress(QUESTION), "allowed not-isolated");
}

#[test]
fn an_allow_is_final_for_its_direction_only() {
    let into = "{tier: Admin, priority: 5, subject: {namespaces: {}}, ingress: [{action: Deny, from: [{namespaces: {}}]}]}";
    let world = world(&[admin("out", 1, ACCEPT), cnp("in", into)]);
    assert_eq!(
        world.egress(QUESTION),
        "allowed rule-matched out egress[0].to[0]"
    );
    assert_eq!(
        world.ingress(QUESTION),
        "denied rule-matched in ingress[0].from[0]"
    );
    assert!(!world.passes(QUESTION));
}

#[test]
fn equal_priorities_are_undecided_only_where_they_end_differently() {
    let of = |one: &str, other: &str| world(&[admin("one", 5, one), admin("two", 5, other)]);
    assert_eq!(
        of(ACCEPT, DENY).egress(QUESTION),
        "undecided equal-priorities one egress[0].to[0]"
    );
    assert_eq!(
        of(DENY, ACCEPT).egress(QUESTION),
        "undecided equal-priorities one egress[0].to[0]"
    );
    assert_eq!(
        of(DENY, DENY).egress(QUESTION),
        "denied rule-matched one egress[0].to[0]"
    );
    assert_eq!(
        of(OTHERS, ACCEPT).egress(QUESTION),
        "allowed rule-matched two egress[0].to[0]"
    );
    // To pass and to accept come to the same where nothing comes after.
    assert_eq!(
        of(ACCEPT, PASS).egress(QUESTION),
        "allowed rule-matched one egress[0].to[0]"
    );
    let passed = [admin("one", 5, ACCEPT), admin("two", 5, PASS), closed()];
    assert_eq!(
        world(&passed).egress(QUESTION),
        "undecided equal-priorities one egress[0].to[0]"
    );
    // What was decided before is decided.
    let before = [
        admin("zero", 4, ACCEPT),
        admin("one", 5, ACCEPT),
        admin("two", 5, DENY),
    ];
    assert_eq!(
        world(&before).egress(QUESTION),
        "allowed rule-matched zero egress[0].to[0]"
    );
    // A baseline policy of v1alpha1 has priority 0.
    let banp = "{subject: {namespaces: {}}, egress: [{action: Deny, to: [{namespaces: {}}]}]}";
    let banp = v1alpha1("BaselineAdminNetworkPolicy", "default", banp);
    let both = world(&[banp, baseline("base", 0, ACCEPT)]);
    assert_eq!(
        both.egress(QUESTION),
        "undecided equal-priorities default egress[0].to[0]"
    );
}

#[test]
fn host_network_pods_are_nobodys_subject_and_nobodys_peer() {
    let both = "{tier: Admin, priority: 1, subject: {namespaces: {}}, \
                ingress: [{action: Deny, from: [{namespaces: {}}]}], egress: [{action: Deny, to: [{namespaces: {}}]}]}";
    let mut world = world(&[cnp("both", both)]);
    world.add("pod b/agent 172.16.0.2 app=agent");
    world.pod("b/agent").host_network = true;
    world.pod("b/agent").node = Some("node2".into());
    assert_eq!(world.egress("!b/agent > a/p 80/tcp"), "-");
    assert_eq!(
        world.ingress("!b/agent > a/p 80/tcp"),
        "allowed not-isolated"
    );
    assert_eq!(
        world.egress("a/p > !b/agent 80/tcp"),
        "allowed not-isolated"
    );
}

#[test]
fn hairpins() {
    let both = "{tier: Admin, priority: 1, subject: {namespaces: {}}, \
                ingress: [{action: Deny, from: [{namespaces: {}}]}], egress: [{action: Deny, to: [{namespaces: {}}]}]}";
    let mut world = world(&[
        cnp("both", both),
        np(
            "a/closed",
            "{podSelector: {}, policyTypes: [Ingress, Egress]}",
        ),
    ]);
    world.add("service a/p 10.96.0.1 app=p 80/tcp=8080");
    // Its own address is nobody's business; by its service it is the admin's.
    assert_eq!(world.egress("a/p > a/p 8080/tcp"), "allowed itself");
    assert_eq!(world.ingress("a/p > a/p 8080/tcp"), "allowed itself");
    assert_eq!(
        world.egress("a/p > 10.96.0.1 80/tcp"),
        "denied rule-matched both egress[0].to[0]"
    );
    assert_eq!(
        world.ingress("a/p > 10.96.0.1 80/tcp"),
        "denied rule-matched both ingress[0].from[0]"
    );
    // No network policy keeps a pod from itself.
    world.policies.policies.remove(0);
    assert_eq!(world.egress("a/p > 10.96.0.1 80/tcp"), "allowed itself");
    assert_eq!(
        world.egress("a/p > a/q 80/tcp"),
        "denied no-rule-matched a/closed"
    );
}
