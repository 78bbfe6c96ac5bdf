//! Fifteen mistakes that evaluators of network policies make, one test each.

use flowmon::policy::document;

use super::world::{World, cnp, np, v1alpha1};

const CLUSTER: &str = "
    namespace a team=red
    namespace b team=blue
    node node1 172.16.0.1 zone=one
    node node2 172.16.0.2 zone=two
    pod a/client 10.0.0.1,fd00::1 app=client 9090/tcp/http
    pod a/server 10.0.0.2,fd00::2 app=server,tier=back 8080/tcp/http 53/udp/dns 5353/tcp/dns
    pod b/client 10.0.1.1 app=client
    pod b/server 10.0.1.2 app=server 80/tcp/http";

fn world(policies: &[String]) -> World {
    World::new(CLUSTER, policies)
}

#[test]
fn trap_01_an_empty_egress_list_isolates_only_with_policy_types() {
    let without = world(&[np("a/p", "{podSelector: {}, egress: []}")]);
    assert_eq!(
        without.egress("a/client > b/server 80/tcp"),
        "allowed not-isolated"
    );
    assert_eq!(
        without.ingress("b/client > a/server 80/tcp"),
        "denied no-rule-matched a/p"
    );
    let with = world(&[np(
        "a/p",
        "{podSelector: {}, egress: [], policyTypes: [Egress]}",
    )]);
    assert_eq!(
        with.egress("a/client > b/server 80/tcp"),
        "denied no-rule-matched a/p"
    );
    assert_eq!(
        with.ingress("b/client > a/server 80/tcp"),
        "allowed not-isolated"
    );
    // Rules of a direction that is not in policyTypes are inert.
    let inert = world(&[np(
        "a/p",
        "{podSelector: {}, egress: [{}], policyTypes: [Ingress]}",
    )]);
    assert_eq!(
        inert.egress("a/client > b/server 80/tcp"),
        "allowed not-isolated"
    );
    assert_eq!(
        inert.ingress("b/client > a/server 80/tcp"),
        "denied no-rule-matched a/p"
    );
}

#[test]
fn trap_02_a_port_without_number_is_every_port_of_its_protocol_which_is_tcp_by_default() {
    let udp = world(&[np(
        "a/p",
        "{podSelector: {}, ingress: [{ports: [{protocol: UDP}]}]}",
    )]);
    assert!(udp.passes("b/client > a/server 53/udp"));
    assert!(!udp.passes("b/client > a/server 53/tcp"));
    let default = world(&[np(
        "a/p",
        "{podSelector: {}, ingress: [{ports: [{port: 53}]}]}",
    )]);
    assert!(default.passes("b/client > a/server 53/tcp"));
    assert!(!default.passes("b/client > a/server 53/udp"));
    assert!(!default.passes("b/client > a/server 53/sctp"));
    let range = world(&[np(
        "a/p",
        "{podSelector: {}, ingress: [{ports: [{port: 80, endPort: 90}]}]}",
    )]);
    for (port, passes) in [(79, false), (80, true), (85, true), (90, true), (91, false)] {
        assert_eq!(
            range.passes(&format!("b/client > a/server {port}/tcp")),
            passes
        );
    }
}

#[test]
fn trap_03_no_peers_is_everyone_but_all_selectors_is_only_pods() {
    for everyone in ["{}", "{from: []}", "{from: null}"] {
        let world = world(&[np(
            "a/p",
            &format!("{{podSelector: {{}}, ingress: [{everyone}]}}"),
        )]);
        assert!(world.passes("8.8.8.8 > a/server 80/tcp"), "{everyone}");
        assert!(world.passes("172.16.0.2 > a/server 80/tcp"), "{everyone}");
        assert!(world.passes("b/client > a/server 80/tcp"), "{everyone}");
    }
    let all = "{podSelector: {}, ingress: [{from: [{podSelector: {}, namespaceSelector: {}}]}]}";
    let world = world(&[np("a/p", all)]);
    assert!(world.passes("b/client > a/server 80/tcp"));
    assert!(!world.passes("8.8.8.8 > a/server 80/tcp"));
    assert!(!world.passes("172.16.0.2 > a/server 80/tcp"));
}

#[test]
fn trap_04_selectors_in_one_peer_are_and_in_two_are_or() {
    let and = "{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: blue}}, \
               podSelector: {matchLabels: {app: client}}}]}]}";
    let and = world(&[np("a/p", and)]);
    assert!(and.passes("b/client > a/server 80/tcp"));
    assert!(!and.passes("b/server > a/server 80/tcp"));
    assert!(!and.passes("a/client > a/server 80/tcp"));
    let or = "{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: blue}}}, \
              {podSelector: {matchLabels: {app: client}}}]}]}";
    let or = world(&[np("a/p", or)]);
    assert!(or.passes("b/server > a/server 80/tcp"));
    let client = "a/client > a/server 80/tcp";
    assert_eq!(
        or.ingress(client),
        "allowed rule-matched a/p ingress[0].from[1]"
    );
}

#[test]
fn trap_05_a_pod_selector_alone_stays_in_the_policys_namespace() {
    let spec =
        "{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: client}}}]}]}";
    let world = world(&[np("a/p", spec)]);
    assert!(world.passes("a/client > a/server 80/tcp"));
    assert!(!world.passes("b/client > a/server 80/tcp"));
    // So do the policy's own pods.
    assert_eq!(
        world.ingress("a/client > b/server 80/tcp"),
        "allowed not-isolated"
    );
}

#[test]
fn trap_06_not_in_holds_where_the_key_is_absent() {
    let spec = |operator: &str| {
        format!("{{podSelector: {{matchExpressions: [{{key: tier, {operator}}}]}}, ingress: []}}")
    };
    let isolates = |operator: &str, pod: &str| {
        let world = world(&[np("a/p", &spec(operator))]);
        !world.passes(&format!("b/client > {pod} 80/tcp"))
    };
    for (operator, client, server) in [
        ("operator: NotIn, values: [front]", true, true),
        ("operator: NotIn, values: [back]", true, false),
        ("operator: In, values: [front, back]", false, true),
        ("operator: Exists", false, true),
        ("operator: DoesNotExist", true, false),
    ] {
        assert_eq!(isolates(operator, "a/client"), client, "{operator}");
        assert_eq!(isolates(operator, "a/server"), server, "{operator}");
    }
}

#[test]
fn trap_07_a_named_port_is_the_destination_pods_of_that_protocol() {
    let ingress = world(&[np(
        "a/p",
        "{podSelector: {}, ingress: [{ports: [{port: http}]}]}",
    )]);
    assert!(ingress.passes("b/client > a/server 8080/tcp"));
    // Not the source's, and not another pod's.
    assert!(!ingress.passes("a/client > a/server 9090/tcp"));
    assert!(ingress.passes("a/server > a/client 9090/tcp"));
    let egress = "{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: http}]}]}";
    let egress = world(&[np("a/p", egress)]);
    assert!(egress.passes("a/client > a/server 8080/tcp"));
    assert!(egress.passes("a/client > b/server 80/tcp"));
    assert!(!egress.passes("a/client > b/server 8080/tcp"));
    // An address has no names.
    assert!(!egress.passes("a/client > 8.8.8.8 80/tcp"));
    let dns = "{podSelector: {}, ingress: [{ports: [{port: dns, protocol: UDP}]}]}";
    let dns = world(&[np("a/p", dns)]);
    assert!(dns.passes("b/client > a/server 53/udp"));
    assert!(!dns.passes("b/client > a/server 5353/tcp"));
    assert!(!dns.passes("b/client > a/server 5353/udp"));
}

#[test]
fn trap_08_a_connection_is_judged_by_who_opened_it() {
    // The reply has the client's port for a destination: nobody asks about it.
    let spec = "{podSelector: {matchLabels: {app: client}}, policyTypes: [Ingress]}";
    let world = world(&[np("a/p", spec)]);
    assert!(world.passes("a/client > b/server 80/tcp"));
    assert_eq!(
        world.ingress("a/client > b/server 80/tcp"),
        "allowed not-isolated"
    );
    assert!(!world.passes("b/server > a/client 40000/tcp"));
}

#[test]
fn trap_09_the_backends_port_is_judged_not_the_services() {
    let spec = "{podSelector: {matchLabels: {app: server}}, ingress: [{ports: [{port: 8080}]}]}";
    let mut world = world(&[np("a/p", spec)]);
    world.add("service a/server 10.96.0.1 app=server 80/tcp=8080 81/tcp=http");
    assert!(world.passes("b/client > 10.96.0.1 80/tcp"));
    assert!(world.passes("b/client > 10.96.0.1 81/tcp"));
    assert!(!world.passes("b/client > a/server 80/tcp"));
}

#[test]
fn trap_10_a_node_probes_its_own_pods() {
    let world = world(&[np(
        "a/p",
        "{podSelector: {}, policyTypes: [Ingress, Egress]}",
    )]);
    assert_eq!(
        world.ingress("172.16.0.1 > a/server 80/tcp"),
        "allowed own-node"
    );
    assert_eq!(
        world.ingress("172.16.0.2 > a/server 80/tcp"),
        "denied no-rule-matched a/p"
    );
}

#[test]
fn trap_11_host_network_pods_are_their_node_and_completed_pods_have_no_address() {
    let spec =
        "{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: client}}}]}]}";
    let mut world = world(&[np("a/p", spec)]);
    world.add("pod a/agent 172.16.0.2 app=client");
    world.pod("a/agent").host_network = true;
    world.pod("a/agent").node = Some("node2".into());
    assert_eq!(
        world.ingress("!a/agent > a/server 80/tcp"),
        "denied no-rule-matched a/p"
    );
    // Nor is it isolated.
    assert_eq!(world.ingress("b/client > !a/agent 80/tcp"), "-");
    let block = "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 172.16.0.2/32}}]}]}";
    world.declare(&np("a/p", block));
    assert!(world.passes("!a/agent > a/server 80/tcp"));
    // A host-network pod of the same node is the node.
    world.pod("a/agent").node = Some("node1".into());
    world.declare(&np("a/p", "{podSelector: {}}"));
    assert_eq!(
        world.ingress("!a/agent > a/server 80/tcp"),
        "allowed own-node"
    );

    // The address of one that has completed is another's; the reader leaves it out.
    world.add("pod a/job - app=server");
    world.add("pod b/next 10.0.0.9 app=server");
    assert_eq!(
        world.ingress("b/client > 10.0.0.9 80/tcp"),
        "allowed not-isolated"
    );
    // Two that have the same one can't be told apart.
    world.add("pod b/ghost 10.0.0.9 app=server");
    assert_eq!(
        world.ingress("b/client > 10.0.0.9 80/tcp"),
        "undecided ambiguous-address"
    );
    assert_eq!(
        world.ingress("b/client > !b/next 80/tcp"),
        "allowed not-isolated"
    );
}

#[test]
fn trap_12_an_ip_block_masks_excepts_and_minds_the_family() {
    let block = |block: &str| {
        world(&[np(
            "a/p",
            &format!("{{podSelector: {{}}, ingress: [{{from: [{{ipBlock: {block}}}]}}]}}"),
        )])
    };
    let exception = block("{cidr: 10.0.0.0/8, except: [10.0.1.0/24]}");
    assert!(exception.passes("a/client > a/server 80/tcp"));
    assert!(!exception.passes("b/client > a/server 80/tcp"));
    let v4 = block("{cidr: 0.0.0.0/0}");
    assert!(v4.passes("10.0.0.1 > 10.0.0.2 80/tcp"));
    assert!(!v4.passes("fd00::1 > fd00::2 80/tcp"));
    let v6 = block("{cidr: '::/0'}");
    assert!(v6.passes("fd00::1 > fd00::2 80/tcp"));
    assert!(!v6.passes("10.0.0.1 > 10.0.0.2 80/tcp"));
    assert!(v4.passes("::ffff:10.0.0.1 > ::ffff:10.0.0.2 80/tcp"));
    assert!(!v6.passes("::ffff:10.0.0.1 > ::ffff:10.0.0.2 80/tcp"));
    // Whether it matches pods is a setting.
    let mut spared = v4;
    spared.settings.ip_block_matches_pods = false;
    assert!(!spared.passes("a/client > 10.0.0.2 80/tcp"));
    assert!(spared.passes("8.8.8.8 > a/server 80/tcp"));
    // Host bits are masked, where documents let them pass.
    let bits = np(
        "a/p",
        "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.77/24}}]}]}",
    );
    let mut masked = world(&[]);
    masked.policies = document::read([("test.yaml".into(), &*bits)]).set;
    assert_eq!(masked.policies.policies.len(), 1);
    assert!(masked.passes("a/client > a/server 80/tcp"));
    assert!(!masked.passes("b/client > a/server 80/tcp"));
}

#[test]
fn trap_13_an_admin_allow_is_half_a_connection_and_pass_is_no_allow() {
    let out = |action: &str| {
        let spec = format!(
            "{{priority: 1, subject: {{namespaces: {{matchLabels: {{team: red}}}}}}, \
             egress: [{{action: {action}, to: [{{namespaces: {{}}}}]}}]}}"
        );
        v1alpha1("AdminNetworkPolicy", "out", &spec)
    };
    let closed = np("b/closed", "{podSelector: {}}");
    let allow = world(&[out("Allow"), closed]);
    let question = "a/client > b/server 80/tcp";
    assert_eq!(
        allow.egress(question),
        "allowed rule-matched out egress[0].to[0]"
    );
    assert_eq!(allow.ingress(question), "denied no-rule-matched b/closed");
    let isolated = np("a/closed", "{podSelector: {}, policyTypes: [Egress]}");
    let pass = world(&[out("Pass"), isolated.clone()]);
    assert_eq!(pass.egress(question), "denied no-rule-matched a/closed");
    // Baseline is not asked about isolated pods, whatever it says.
    let baseline = |action: &str| {
        let spec = format!(
            "{{subject: {{namespaces: {{}}}}, egress: [{{action: {action}, to: [{{namespaces: {{}}}}]}}]}}"
        );
        v1alpha1("BaselineAdminNetworkPolicy", "default", &spec)
    };
    let open = np(
        "a/open",
        "{podSelector: {}, policyTypes: [Egress], egress: [{}]}",
    );
    assert_eq!(
        world(&[baseline("Allow"), isolated]).egress(question),
        "denied no-rule-matched a/closed"
    );
    assert_eq!(
        world(&[baseline("Deny"), open]).egress(question),
        "allowed rule-matched a/open egress[0]"
    );
    assert_eq!(
        world(&[baseline("Deny")]).egress(question),
        "denied rule-matched default egress[0].to[0]"
    );
}

#[test]
fn trap_14_kinds_are_told_by_group_too_and_the_name_label_is_always_there() {
    let antrea = "apiVersion: crd.antrea.io/v1beta1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: a}\nspec: {}\n";
    let calico = "apiVersion: projectcalico.org/v3\nkind: NetworkPolicy\nmetadata: {name: q, namespace: a}\nspec: {}\n";
    for text in [antrea, calico] {
        let documents = document::read([("test.yaml".into(), text)]);
        assert!(documents.set.policies.is_empty(), "{text}");
    }
    let spec = "{podSelector: {}, ingress: [{from: [{namespaceSelector: \
                {matchLabels: {kubernetes.io/metadata.name: b}}}]}]}";
    let mut world = world(&[np("a/p", spec)]);
    world.inventory.namespaces.clear();
    assert!(world.passes("b/client > a/server 80/tcp"));
    assert!(!world.passes("a/client > a/server 80/tcp"));
}

#[test]
fn trap_15_what_is_undefined_gets_no_hard_verdict() {
    let isolated = world(&[np("a/p", "{podSelector: {}, ingress: [{}]}")]);
    // Not even where everything is allowed.
    assert_eq!(
        isolated.ingress("b/client > a/server ?/icmp"),
        "undecided undefined-protocol a/p"
    );
    assert_eq!(
        isolated.ingress("a/client > b/server ?/icmp"),
        "allowed not-isolated"
    );
    let same = |name: &str, action: &str| {
        let spec = format!(
            "{{tier: Admin, priority: 5, subject: {{namespaces: {{}}}}, \
             ingress: [{{action: {action}, from: [{{namespaces: {{}}}}]}}]}}"
        );
        cnp(name, &spec)
    };
    let unclear = world(&[same("one", "Accept"), same("two", "Deny")]);
    let question = "b/client > a/server 80/tcp";
    assert_eq!(
        unclear.ingress(question),
        "undecided equal-priorities one ingress[0].from[0]"
    );
    let clear = world(&[same("one", "Deny"), same("two", "Deny")]);
    assert_eq!(
        clear.ingress(question),
        "denied rule-matched one ingress[0].from[0]"
    );
}
