//! What peers and ports of the admin kinds match.

use std::sync::Arc;

use flowmon::policy::{
    Policy,
    model::{PeerMatch, Peers, Rule},
};

use super::{
    tiers::{ACCEPT, DENY, PASS, QUESTION, admin, baseline, open, world},
    world::{World, v1alpha1},
};

/// Replaces the peers of every egress rule: a document of these would be an error.
fn with_unknown_peer(world: &mut World) {
    let edit = |policy: &Arc<Policy>| {
        let mut policy = Policy::clone(policy);
        let unknown = |rule: &mut Rule| {
            if let Peers::OneOf(peers) = &mut rule.peers {
                peers[0].what = PeerMatch::Unknown;
            }
        };
        policy.egress.iter_mut().flatten().for_each(unknown);
        Arc::new(policy)
    };
    world.policies.policies = world.policies.policies.iter().map(edit).collect();
}

#[test]
fn unknown_peers_fail_closed() {
    let of = |rule: &str| {
        let mut world = world(&[admin("one", 1, rule)]);
        with_unknown_peer(&mut world);
        world
    };
    let outside = "a/p > 8.8.8.8 80/tcp";
    assert_eq!(of(ACCEPT).egress(QUESTION), "allowed not-isolated");
    for rule in [DENY, PASS] {
        assert_eq!(
            of(rule).egress(QUESTION),
            "denied rule-matched one egress[0]",
            "{rule}"
        );
        assert_eq!(
            of(rule).egress(outside),
            "denied rule-matched one egress[0]",
            "{rule}"
        );
    }
    // What else the rule says holds all the same.
    let dns = "{action: Deny, to: [{namespaces: {}}], protocols: [{udp: {destinationPort: {number: 53}}}]}";
    assert_eq!(of(dns).egress(QUESTION), "allowed not-isolated");
    assert_eq!(
        of(dns).egress("a/p > 8.8.8.8 53/udp"),
        "denied rule-matched one egress[0]"
    );
    // The peers that are known are still accepted.
    let some =
        "{action: Accept, to: [{namespaces: {}}, {namespaces: {matchLabels: {team: blue}}}]}";
    let mut some = world(&[admin("one", 1, some), baseline("base", 1, DENY)]);
    some.policies.policies.truncate(1);
    with_unknown_peer(&mut some);
    assert_eq!(
        some.egress(QUESTION),
        "allowed rule-matched one egress[0].to[1]"
    );
}

#[test]
fn networks_match_pods_and_every_protocol() {
    let all = "{action: Deny, to: [{networks: [0.0.0.0/0]}]}";
    let world = world(&[admin("one", 1, all)]);
    for question in [
        QUESTION,
        "a/p > 8.8.8.8 80/tcp",
        "a/p > b/r ?/icmp",
        "a/p > 172.16.0.2 1/udp",
    ] {
        assert_eq!(
            world.egress(question),
            "denied rule-matched one egress[0].to[0]",
            "{question}"
        );
    }
    assert_eq!(
        world.egress("fd00::1 > fd99::1 80/tcp"),
        "allowed not-isolated"
    );
    // Whether ipBlock matches pods has no part in it.
    let mut spared = world;
    spared.settings.ip_block_matches_pods = false;
    assert_eq!(
        spared.egress(QUESTION),
        "denied rule-matched one egress[0].to[0]"
    );
}

#[test]
fn nodes_are_matched_by_their_labels() {
    let zone = "{action: Deny, to: [{nodes: {matchLabels: {zone: two}}}]}";
    let mut world = world(&[admin("one", 1, zone)]);
    assert_eq!(
        world.egress("a/p > 172.16.0.2 80/tcp"),
        "denied rule-matched one egress[0].to[0]"
    );
    assert_eq!(
        world.egress("a/p > 172.16.0.1 80/tcp"),
        "allowed not-isolated"
    );
    assert_eq!(world.egress("a/p > 8.8.8.8 80/tcp"), "allowed not-isolated");
    assert_eq!(world.egress(QUESTION), "allowed not-isolated");
    // So is a host-network pod of theirs.
    world.add("pod b/agent 172.16.0.2 app=agent");
    world.pod("b/agent").host_network = true;
    world.pod("b/agent").node = Some("node2".into());
    assert_eq!(
        world.egress("a/p > !b/agent 80/tcp"),
        "denied rule-matched one egress[0].to[0]"
    );
    // Of a node that is not in the inventory nothing is known, and without any who is outside is not.
    world.inventory.nodes.remove("node2");
    assert_eq!(
        world.egress("a/p > !b/agent 80/tcp"),
        "undecided unknown-node one egress[0].to[0]"
    );
    world.inventory.nodes.clear();
    assert_eq!(
        world.egress("a/p > 8.8.8.8 80/tcp"),
        "undecided unknown-node one egress[0].to[0]"
    );
}

#[test]
fn domain_names_are_undecided_where_they_matter() {
    let name = "{action: Accept, to: [{domainNames: ['*.example.com']}]}";
    let outside = "a/p > 8.8.8.8 443/tcp";
    assert_eq!(
        world(&[admin("one", 1, name)]).egress(outside),
        "allowed not-isolated"
    );
    let denied = world(&[admin(
        "one",
        1,
        &[name, "{action: Deny, to: [{networks: [0.0.0.0/0]}]}"].join(", "),
    )]);
    assert_eq!(
        denied.egress(outside),
        "undecided domain-names one egress[0].to[0]"
    );
    // An answer that is the same either way is an answer.
    let allowed = world(&[admin("one", 1, name), open()]);
    assert_eq!(
        allowed.egress(outside),
        "allowed rule-matched a/open egress[0]"
    );
}

#[test]
fn ports_of_both_versions() {
    let ask = |protocols: &str, question: &str| {
        let rule =
            format!("{{action: Deny, to: [{{namespaces: {{}}}}], protocols: [{protocols}]}}");
        world(&[admin("one", 1, &rule)])
            .egress(question)
            .starts_with("denied")
    };
    let old = |ports: &str, question: &str| {
        let spec = format!(
            "{{priority: 1, subject: {{namespaces: {{}}}}, \
             egress: [{{action: Deny, to: [{{namespaces: {{}}}}], ports: [{ports}]}}]}}"
        );
        let world = world(&[v1alpha1("AdminNetworkPolicy", "one", &spec)]);
        world.egress(question).starts_with("denied")
    };
    for (protocols, ports, port, matches) in [
        (
            "{tcp: {destinationPort: {number: 80}}}",
            "{portNumber: {port: 80, protocol: TCP}}",
            "80/tcp",
            true,
        ),
        (
            "{tcp: {destinationPort: {number: 80}}}",
            "{portNumber: {port: 80, protocol: TCP}}",
            "80/udp",
            false,
        ),
        (
            "{udp: {destinationPort: {range: {start: 5, end: 9}}}}",
            "{portRange: {start: 5, end: 9, protocol: UDP}}",
            "9/udp",
            true,
        ),
        (
            "{udp: {destinationPort: {range: {start: 5, end: 9}}}}",
            "{portRange: {start: 5, end: 9, protocol: UDP}}",
            "10/udp",
            false,
        ),
        // No protocol: any that the pod has under the name.
        (
            "{destinationNamedPort: http}",
            "{namedPort: http}",
            "8080/tcp",
            true,
        ),
        (
            "{destinationNamedPort: http}",
            "{namedPort: http}",
            "53/udp",
            true,
        ),
        (
            "{destinationNamedPort: http}",
            "{namedPort: http}",
            "53/tcp",
            false,
        ),
        (
            "{tcp: {destinationPort: {number: 80}}}",
            "{portNumber: {port: 80, protocol: TCP}}",
            "?/icmp",
            false,
        ),
    ] {
        let question = format!("a/p > a/q {port}");
        assert_eq!(ask(protocols, &question), matches, "{protocols} {port}");
        assert_eq!(old(ports, &question), matches, "{ports} {port}");
    }
    // Without ports it is every protocol.
    assert_eq!(
        world(&[admin("one", 1, DENY)]).egress("a/p > a/q ?/icmp"),
        "denied rule-matched one egress[0].to[0]"
    );
}
