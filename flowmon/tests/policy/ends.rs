//! Who is at an end: services and their backends, nodes, those who can't be told.

use flowmon::policy::{
    inventory::{Backend, Node},
    model::PortProtocol,
    ruleset::ToOwnNode,
};

use super::world::{World, cnp, id, np};

const CLUSTER: &str = "
    namespace a team=red
    namespace b team=blue
    node node1 172.16.0.1 -
    node node2 172.16.0.2 -
    pod a/client 10.0.0.1,fd00::1 app=client
    pod b/web-1 10.0.1.1,fd00::11 app=web 8080/tcp/http
    pod b/web-2 10.0.1.2,fd00::12 app=web 9090/tcp/http
    service b/web 10.96.0.1 app=web 80/tcp=http:30080 81/tcp=8080";

fn world(policies: &[String]) -> World {
    World::new(CLUSTER, policies)
}

fn to_8080() -> String {
    np(
        "b/web",
        "{podSelector: {}, ingress: [{ports: [{port: 8080}]}]}",
    )
}

#[test]
fn backends_must_agree() {
    let mut world = world(&[to_8080()]);
    assert_eq!(
        world.ingress("a/client > 10.96.0.1 80/tcp"),
        "undecided backends-differ"
    );
    assert_eq!(
        world.ingress("a/client > 10.96.0.1 81/tcp"),
        "allowed rule-matched b/web ingress[0]"
    );
    world.declare(&np(
        "b/web",
        "{podSelector: {}, ingress: [{ports: [{port: http}]}]}",
    ));
    assert_eq!(
        world.ingress("a/client > 10.96.0.1 80/tcp"),
        "allowed rule-matched b/web ingress[0]"
    );
    // By a node's port as well.
    assert_eq!(
        world.ingress("a/client > 172.16.0.2 30080/tcp"),
        "allowed rule-matched b/web ingress[0]"
    );
    assert_eq!(world.ingress("a/client > 172.16.0.2 30081/tcp"), "-");
    assert_eq!(world.ingress("a/client > 172.16.0.2 30080/udp"), "-");
}

#[test]
fn a_service_nobody_answers_for_is_undecided_where_it_matters() {
    let closed = np("a/closed", "{podSelector: {}, policyTypes: [Egress]}");
    let mut world = world(&[closed]);
    let question = "a/client > 10.96.0.1 82/tcp";
    // No such port: who knows what for.
    assert_eq!(world.egress(question), "undecided service-address a/closed");
    assert_eq!(world.ingress(question), "undecided service-address");
    world.declare(&np(
        "a/open",
        "{podSelector: {}, policyTypes: [Egress], egress: [{}]}",
    ));
    assert_eq!(
        world.egress(question),
        "allowed rule-matched a/open egress[0]"
    );
    let all =
        "{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0}}]}]}";
    world.declare(&np("a/all", all));
    assert_eq!(
        world.egress(question),
        "allowed rule-matched a/all egress[0].to[0]"
    );
    world.declare(&np(
        "a/port",
        "{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: 443}]}]}",
    ));
    assert_eq!(
        world.egress(question),
        "undecided unknown-port a/port egress[0]"
    );
    world.policies.policies.clear();
    assert_eq!(world.egress(question), "allowed no-policies");
}

#[test]
fn endpoints_come_before_selectors() {
    let mut world = world(&[to_8080()]);
    let backend = |address: &str, port, ready| Backend {
        address: address.parse().unwrap(),
        port_name: "80".into(),
        protocol: PortProtocol::Tcp,
        port,
        ready,
    };
    let mut answer = |endpoints: Vec<Backend>| {
        let service = world.inventory.services.get_mut(&id("b/web")).unwrap();
        service.endpoints = Some(endpoints);
        world.ingress("a/client > 10.96.0.1 80/tcp")
    };
    assert_eq!(
        answer(vec![backend("10.0.1.1", 8080, true)]),
        "allowed rule-matched b/web ingress[0]"
    );
    assert_eq!(
        answer(vec![backend("10.0.1.1", 8081, true)]),
        "denied no-rule-matched b/web"
    );
    let ready = vec![
        backend("10.0.1.1", 8080, true),
        backend("10.0.1.2", 9090, false),
    ];
    assert_eq!(answer(ready), "allowed rule-matched b/web ingress[0]");
    assert_eq!(
        answer(vec![backend("10.0.1.2", 9090, false)]),
        "undecided service-address"
    );
    // Only of the family that was asked.
    let both = vec![
        backend("10.0.1.1", 8080, true),
        backend("fd00::12", 9090, true),
    ];
    assert_eq!(answer(both), "allowed rule-matched b/web ingress[0]");
    // One outside has no policies, and lets everything in.
    let outside = vec![backend("8.8.8.8", 1, true), backend("10.0.1.1", 8080, true)];
    assert_eq!(answer(outside), "allowed rule-matched b/web ingress[0]");
    let differ = vec![backend("8.8.8.8", 1, true), backend("10.0.1.1", 1, true)];
    assert_eq!(answer(differ), "undecided backends-differ");
}

#[test]
fn blocks_that_tell_a_service_from_its_pods_are_undecided() {
    let egress = |cidr: &str| {
        let spec = format!(
            "{{podSelector: {{}}, policyTypes: [Egress], egress: [{{to: [{{ipBlock: {{cidr: {cidr}}}}}]}}]}}"
        );
        world(&[np("a/p", &spec)]).egress("a/client > 10.96.0.1 81/tcp")
    };
    assert_eq!(
        egress("10.96.0.0/16"),
        "undecided service-address a/p egress[0].to[0]"
    );
    assert_eq!(
        egress("10.0.1.0/24"),
        "undecided service-address a/p egress[0].to[0]"
    );
    assert_eq!(
        egress("10.0.0.0/8"),
        "allowed rule-matched a/p egress[0].to[0]"
    );
    assert_eq!(egress("192.168.0.0/16"), "denied no-rule-matched a/p");
}

#[test]
fn what_a_pod_says_to_its_own_node_is_a_setting() {
    let closed = np("a/closed", "{podSelector: {}, policyTypes: [Egress]}");
    let mut world = world(std::slice::from_ref(&closed));
    let (own, other) = (
        "a/client > 172.16.0.1 10250/tcp",
        "a/client > 172.16.0.2 10250/tcp",
    );
    for (setting, answer) in [
        (ToOwnNode::Allowed, "allowed own-node"),
        (ToOwnNode::Judged, "denied no-rule-matched a/closed"),
        (ToOwnNode::Undecided, "undecided own-node a/closed"),
    ] {
        world.settings.to_own_node = setting;
        assert_eq!(world.egress(own), answer);
        assert_eq!(world.egress(other), "denied no-rule-matched a/closed");
    }
    // The admin's word stands, whatever network policies are made of.
    let deny = "{tier: Admin, priority: 1, subject: {namespaces: {}}, egress: [{action: Deny, to: [{nodes: {}}]}]}";
    world.settings.to_own_node = ToOwnNode::Allowed;
    world.declare(&[cnp("nodes", deny), closed].join("---\n"));
    assert_eq!(
        world.egress(own),
        "denied rule-matched nodes egress[0].to[0]"
    );
}

#[test]
fn a_pod_whose_node_is_not_known_may_be_probed_by_any() {
    let mut world = world(&[np("a/closed", "{podSelector: {}}")]);
    let pod = world.pod("a/client");
    (pod.node, pod.host_addresses) = (None, Vec::new());
    assert_eq!(
        world.ingress("172.16.0.2 > a/client 80/tcp"),
        "undecided unknown-node a/closed"
    );
    assert_eq!(
        world.ingress("8.8.8.8 > a/client 80/tcp"),
        "denied no-rule-matched a/closed"
    );
}

#[test]
fn an_address_of_the_pods_networks_that_nobody_has_is_not_outside() {
    let mut world = world(&[np("a/closed", "{podSelector: {}}")]);
    let node = Node {
        pod_networks: vec!["10.0.2.0/24".parse().unwrap()],
        ..Node::default()
    };
    world.inventory.nodes.insert("node3".into(), node);
    // It may be a pod's, or the node's own on its bridge.
    assert_eq!(
        world.ingress("10.0.2.1 > a/client 80/tcp"),
        "undecided unknown-pod a/closed"
    );
    assert_eq!(
        world.ingress("10.0.3.1 > a/client 80/tcp"),
        "denied no-rule-matched a/closed"
    );
    assert_eq!(
        world.ingress("a/client > 10.0.2.1 80/tcp"),
        "undecided unknown-pod"
    );
    world.declare(&np("a/open", "{podSelector: {}, ingress: [{}]}"));
    assert_eq!(
        world.ingress("10.0.2.1 > a/client 80/tcp"),
        "allowed rule-matched a/open ingress[0]"
    );
}

#[test]
fn a_port_that_is_not_known_is_undecided_where_a_rule_names_ports() {
    let mut world = world(&[to_8080()]);
    assert_eq!(
        world.ingress("a/client > b/web-1 ?/tcp"),
        "undecided unknown-port b/web ingress[0]"
    );
    assert_eq!(
        world.ingress("a/client > b/web-1 ?/udp"),
        "denied no-rule-matched b/web"
    );
    world.declare(&np(
        "b/web",
        "{podSelector: {}, ingress: [{ports: [{protocol: TCP}]}]}",
    ));
    assert_eq!(
        world.ingress("a/client > b/web-1 ?/tcp"),
        "allowed rule-matched b/web ingress[0]"
    );
}

#[test]
fn labels_of_a_namespace_that_is_not_listed_are_not_known() {
    let from = |labels: &str| {
        let spec = format!(
            "{{podSelector: {{}}, ingress: [{{from: [{{namespaceSelector: {{matchLabels: {labels}}}}}]}}]}}"
        );
        let mut world = world(&[np("b/p", &spec)]);
        world.inventory.namespaces.remove("a");
        world.ingress("a/client > b/web-1 80/tcp")
    };
    assert_eq!(
        from("{team: red}"),
        "undecided unknown-namespace b/p ingress[0].from[0]"
    );
    assert_eq!(
        from("{kubernetes.io/metadata.name: a}"),
        "allowed rule-matched b/p ingress[0].from[0]"
    );
    assert_eq!(
        from("{kubernetes.io/metadata.name: b, team: red}"),
        "denied no-rule-matched b/p"
    );
    // Nor is whether a policy is about its pods.
    let deny = "{tier: Admin, priority: 1, subject: {namespaces: {matchLabels: {team: red}}}, \
                egress: [{action: Deny, to: [{namespaces: {}}]}]}";
    let mut world = world(&[cnp("red", deny)]);
    world.inventory.namespaces.remove("a");
    assert_eq!(
        world.egress("a/client > b/web-1 80/tcp"),
        "undecided unknown-namespace red egress[0].to[0]"
    );
}

#[test]
fn a_pod_that_is_named_but_not_listed_is_unknown() {
    let world = world(&[np(
        "b/p",
        "{podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}]}",
    )]);
    let mut connection = world.connection("10.9.9.9 > b/web-1 80/tcp");
    connection.initiator.pod = Some(id("a/gone"));
    let ruleset =
        flowmon::policy::Ruleset::compile(&world.policies, &world.inventory, world.settings);
    let verdicts = ruleset.judge(&connection);
    let label = |verdict: Option<flowmon::policy::Verdict>| verdict.unwrap().reason.label();
    assert_eq!(label(verdicts.egress), "unknown-pod");
    assert_eq!(label(verdicts.ingress), "unknown-pod");
}
