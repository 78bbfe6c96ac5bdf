#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail by panicking"
)]

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const NETWORK_POLICIES: Resource = Resource::Policies(Kind::NetworkPolicy);

fn id(namespace: &str, name: &str) -> ObjectId {
    ObjectId {
        namespace: namespace.into(),
        name: name.into(),
    }
}

fn version(resource: Resource) -> &'static str {
    match resource {
        Resource::EndpointSlices => "discovery.k8s.io/v1",
        Resource::Policies(Kind::NetworkPolicy) => "networking.k8s.io/v1",
        Resource::Policies(_) => "policy.networking.k8s.io/v1alpha1",
        _ => "v1",
    }
}

fn put(cluster: &mut Cluster, resource: Resource, object: &Value) -> Result<(), Unusable> {
    let part = |key: &str| object["metadata"][key].as_str().unwrap_or_default();
    let id = id(part("namespace"), part("name"));
    cluster.put(resource, version(resource), &id, &object.to_string())
}

/// As the API has it in a list: without kind and version.
fn pod(name: &str, label: &str, address: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "shop", "labels": {"app": label}, "uid": "1",
                     "managedFields": [{"manager": "kubelet"}]},
        "spec": {"nodeName": "n1", "containers": [{"name": "c", "ports": [{"name": "web", "containerPort": 80}]}]},
        "status": {"phase": "Running", "podIPs": [{"ip": address}], "hostIP": "192.0.2.1"},
    })
}

fn network_policy(name: &str, selects: &Value) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "shop", "uid": "2", "resourceVersion": "7",
                     "managedFields": [{"manager": "kubectl", "fieldsV1": {"f:spec": {}}}]},
        "spec": {"podSelector": selects, "policyTypes": ["Ingress"]},
    })
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn who_has_addresses_and_had_them() {
    let mut cluster = Cluster::default();
    put(&mut cluster, Resource::Pods, &pod("a", "x", "10.0.0.1")).unwrap();
    let holder = Holder::Pod(id("shop", "a"));
    let expected = BTreeMap::from([(holder.clone(), Vec::new())]);
    assert_eq!(cluster.changes().holders, expected);
    // What nobody needs may change as it likes.
    let mut same = pod("a", "x", "10.0.0.1");
    same["status"]["conditions"] = json!([{"type": "Ready"}]);
    put(&mut cluster, Resource::Pods, &same).unwrap();
    assert!(cluster.changes().is_empty());
    // Before the first of several changes.
    put(&mut cluster, Resource::Pods, &pod("a", "x", "10.0.0.2")).unwrap();
    put(&mut cluster, Resource::Pods, &pod("a", "x", "10.0.0.3")).unwrap();
    cluster.remove(Resource::Pods, &id("shop", "a"));
    let changes = cluster.changes();
    assert_eq!(
        changes.holders,
        BTreeMap::from([(holder, vec![address("10.0.0.1")])])
    );
    assert!(!changes.rules, "pods are put into a ruleset one by one");
    assert_eq!(cluster.size, 0);
}

#[test]
fn what_a_list_leaves_out_is_gone_when_it_ends() {
    let mut cluster = Cluster::default();
    for name in ["a", "b", "c"] {
        put(
            &mut cluster,
            NETWORK_POLICIES,
            &network_policy(name, &json!({})),
        )
        .unwrap();
    }
    put(
        &mut cluster,
        Resource::Policies(Kind::AdminNetworkPolicy),
        &json!({}),
    )
    .unwrap_err();
    cluster.begin(NETWORK_POLICIES);
    put(
        &mut cluster,
        NETWORK_POLICIES,
        &network_policy("b", &json!({})),
    )
    .unwrap();
    assert_eq!(cluster.policies().policies.len(), 3);
    // Begun again, as the first part was too old.
    cluster.begin(NETWORK_POLICIES);
    put(
        &mut cluster,
        NETWORK_POLICIES,
        &network_policy("c", &json!({})),
    )
    .unwrap();
    cluster.end(NETWORK_POLICIES);
    let left = cluster.policies().policies;
    let names: Vec<&str> = left.iter().map(|policy| &*policy.id.name).collect();
    assert_eq!(names, ["c"]);
}

#[test]
fn a_policy_that_cannot_be_used_is_not_taken_for_none() {
    let mut cluster = Cluster::default();
    put(
        &mut cluster,
        NETWORK_POLICIES,
        &network_policy("p", &json!({})),
    )
    .unwrap();
    let wrong = network_policy("p", &json!({"matchLabel": {"app": "x"}}));
    let why = put(&mut cluster, NETWORK_POLICIES, &wrong).unwrap_err();
    assert!(why.0.contains("spec.podSelector.matchLabel"), "{}", why.0);
    assert!(
        cluster.policies().policies.is_empty(),
        "nor as it was before"
    );
    assert_eq!(cluster.unknown_policies(), BTreeSet::from(["shop".into()]));
    assert!(cluster.changes().rules);
    // Gone, or repaired, and all is well again.
    put(
        &mut cluster,
        NETWORK_POLICIES,
        &network_policy("p", &json!({})),
    )
    .unwrap();
    assert!(cluster.unknown_policies().is_empty());
    put(&mut cluster, NETWORK_POLICIES, &wrong).unwrap_err();
    cluster.changes();
    cluster.begin(NETWORK_POLICIES);
    cluster.end(NETWORK_POLICIES);
    assert!(cluster.unknown_policies().is_empty());
    assert!(cluster.changes().rules);
}

#[test]
fn services_are_answered_for_by_all_of_their_slices() {
    let mut cluster = Cluster::default();
    let service = json!({"metadata": {"name": "web", "namespace": "shop"},
        "spec": {"clusterIP": "10.96.0.1", "ports": [{"port": 80}]}});
    put(&mut cluster, Resource::Services, &service).unwrap();
    let slice = |name: &str, addresses: &[&str]| {
        json!({"metadata": {"name": name, "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4", "ports": [{"port": 8080, "protocol": "TCP"}],
            "endpoints": [{"addresses": addresses}]})
    };
    let backends = |cluster: &Cluster| {
        let inventory = cluster.inventory();
        let endpoints = inventory.services[&id("shop", "web")].endpoints.clone();
        endpoints.map(|all| {
            all.iter()
                .map(|it| it.address.to_string())
                .collect::<Vec<_>>()
        })
    };
    assert_eq!(backends(&cluster), None);
    put(
        &mut cluster,
        Resource::EndpointSlices,
        &slice("web-1", &["10.0.0.1"]),
    )
    .unwrap();
    put(
        &mut cluster,
        Resource::EndpointSlices,
        &slice("web-2", &["10.0.0.1", "10.0.0.2"]),
    )
    .unwrap();
    assert_eq!(backends(&cluster).unwrap(), ["10.0.0.1", "10.0.0.2"]);
    cluster.remove(Resource::EndpointSlices, &id("shop", "web-1"));
    cluster.remove(Resource::EndpointSlices, &id("shop", "web-2"));
    assert_eq!(backends(&cluster), None);
    cluster.remove(Resource::Services, &id("shop", "web"));
    assert_eq!(cluster.size, 0);
}

#[test]
fn what_the_api_server_would_not_let_be_is_not_believed() {
    let mut cluster = Cluster::default();
    let mut wrong = vec![
        pod("a\u{1b}[2J", "x", "10.0.0.1"),
        pod("a", "\u{202e}x", "10.0.0.1"),
        pod("a", &"x".repeat(64), "10.0.0.1"),
        pod("a", "x", "nowhere"),
        json!({"kind": "Service", "metadata": {"name": "a", "namespace": "shop"}}),
        json!([]),
    ];
    let mut port = pod("a", "x", "10.0.0.1");
    port["spec"]["containers"][0]["ports"][0]["name"] = json!("\r\n");
    wrong.push(port);
    for object in wrong {
        put(&mut cluster, Resource::Pods, &object).unwrap_err();
    }
    let other = pod("b", "x", "10.0.0.1").to_string();
    cluster
        .put(Resource::Pods, "v1", &id("shop", "a"), &other)
        .unwrap_err();
    for text in ["", "{", "{} {}", "nonsense"] {
        cluster
            .put(Resource::Pods, "v1", &id("shop", "a"), text)
            .unwrap_err();
        cluster
            .put(
                NETWORK_POLICIES,
                "networking.k8s.io/v1",
                &id("shop", "a"),
                text,
            )
            .unwrap_err();
    }
    assert!(cluster.members().pods.is_empty());
}

#[derive(Debug, Clone)]
enum Step {
    Begin(Resource),
    End(Resource),
    Put(Resource, u8, u8),
    Remove(Resource, u8),
}

fn object(resource: Resource, name: u8, variant: u8) -> Value {
    let called = format!("o{name}");
    match resource {
        Resource::Pods => pod(
            &called,
            &format!("l{variant}"),
            &format!("10.0.0.{variant}"),
        ),
        Resource::Policies(_) if variant == 0 => network_policy(&called, &json!({"no": "such"})),
        Resource::Policies(_) => network_policy(
            &called,
            &json!({"matchLabels": {"app": variant.to_string()}}),
        ),
        Resource::Services => json!({"metadata": {"name": called, "namespace": "shop"},
            "spec": {"clusterIP": format!("10.96.0.{variant}")}}),
        Resource::EndpointSlices => json!({"metadata": {"name": called, "namespace": "shop",
            "labels": {"kubernetes.io/service-name": format!("o{variant}")}}, "addressType": "IPv4",
            "ports": [{"port": 80}], "endpoints": [{"addresses": [format!("10.0.0.{variant}")]}]}),
        _ => json!({"metadata": {"name": called, "labels": {"v": variant.to_string()}},
            "status": {"addresses": [{"type": "InternalIP", "address": format!("192.0.2.{variant}")}]}}),
    }
}

fn of(resource: Resource, name: u8) -> ObjectId {
    let namespaced = !matches!(resource, Resource::Nodes | Resource::Namespaces);
    id(if namespaced { "shop" } else { "" }, &format!("o{name}"))
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let resource = prop_oneof![
        Just(Resource::Pods),
        Just(Resource::Nodes),
        Just(Resource::Namespaces),
        Just(Resource::Services),
        Just(Resource::EndpointSlices),
        Just(NETWORK_POLICIES),
    ];
    let step =
        (resource, 0..4_u8, 0..4_u8, 0..6_u8).prop_map(
            |(resource, name, variant, what)| match what {
                0 => Step::Begin(resource),
                1 => Step::End(resource),
                2 => Step::Remove(resource, name),
                _ => Step::Put(resource, name, variant),
            },
        );
    proptest::collection::vec(step, 0..60)
}

proptest! {
    /// However it came to be, it is as if only what there is now had ever been; and who follows
    /// its changes is never behind.
    #[test]
    fn the_past_leaves_no_trace(steps in steps()) {
        let mut cluster = Cluster::default();
        let mut there: BTreeMap<(Resource, u8), u8> = BTreeMap::new();
        let mut listed: BTreeMap<Resource, BTreeSet<u8>> = BTreeMap::new();
        let mut followed: BTreeMap<Holder, Vec<IpAddr>> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Begin(resource) => {
                    cluster.begin(resource);
                    listed.insert(resource, BTreeSet::new());
                }
                Step::End(resource) => {
                    cluster.end(resource);
                    if let Some(listed) = listed.remove(&resource) {
                        there.retain(|(of, name), _| *of != resource || listed.contains(name));
                    }
                }
                Step::Put(resource, name, variant) => {
                    let _used = put(&mut cluster, resource, &object(resource, name, variant));
                    there.insert((resource, name), variant);
                    if let Some(listed) = listed.get_mut(&resource) {
                        listed.insert(name);
                    }
                }
                Step::Remove(resource, name) => {
                    cluster.remove(resource, &of(resource, name));
                    there.remove(&(resource, name));
                }
            }
            for (holder, before) in cluster.changes().holders {
                let known = followed.remove(&holder).unwrap_or_default();
                prop_assert_eq!(known, before);
                let inventory = cluster.members();
                let after = match &holder {
                    Holder::Pod(id) => inventory.pods.get(id).map(|it| it.own().to_vec()),
                    Holder::Service(id) => inventory.services.get(id).map(|it| it.addresses.clone()),
                    Holder::Node(name) => inventory.nodes.get(name).map(|it| it.addresses.clone()),
                };
                if let Some(after) = after {
                    followed.insert(holder, after);
                }
            }
        }
        let mut fresh = Cluster::default();
        for ((resource, name), variant) in there {
            let _used = put(&mut fresh, resource, &object(resource, name, variant));
        }
        prop_assert_eq!(cluster.inventory(), fresh.inventory());
        prop_assert_eq!(cluster.policies().policies, fresh.policies().policies);
        prop_assert_eq!(cluster.unknown_policies(), fresh.unknown_policies());
        prop_assert_eq!(cluster.size, fresh.size);
    }

    #[test]
    fn no_text_is_too_odd(text in "\\PC{0,60}|[{}\\[\\]\":,a-z0-9]{0,60}") {
        let mut cluster = Cluster::default();
        for resource in [Resource::Pods, Resource::EndpointSlices, NETWORK_POLICIES] {
            let _used = cluster.put(resource, version(resource), &id("shop", "a"), &text);
        }
    }
}

#[test]
fn what_many_have_in_common_is_kept_once_and_not_for_ever() {
    let mut cluster = Cluster::default();
    for number in 0..4 {
        let address = format!("10.0.0.{number}");
        put(
            &mut cluster,
            Resource::Pods,
            &pod(&format!("p{number}"), "same", &address),
        )
        .unwrap();
    }
    let first = cluster.members().pods.values().next().unwrap();
    assert_eq!(first.labels.shared_by(), 5, "four pods, and who keeps it");
    let copy = cluster.inventory();
    let copied = copy.pods.values().next().unwrap();
    assert_eq!(copied.labels.shared_by(), 9);
    drop(copy);
    for number in 0..10_000 {
        put(
            &mut cluster,
            Resource::Pods,
            &pod("p0", &number.to_string(), "10.0.0.1"),
        )
        .unwrap();
    }
    assert!(cluster.shared.kept() < 3000, "{}", cluster.shared.kept());
}
