//! Who is who, and how that is kept up to date.

use serde_json::json;

use crate::{
    Asked,
    kube_api::{
        Api, NAMESPACES, NETWORK_POLICIES, NODES, PODS, SERVICES, SLICES, namespace, node, pod,
    },
};

const BETA_SLICES: &str = "/apis/discovery.k8s.io/v1beta1/endpointslices";
const ADMIN: &str = "/apis/policy.networking.k8s.io/v1alpha1/adminnetworkpolicies";

fn cluster() -> Api {
    let api = Api::start().unwrap();
    api.put(NAMESPACES, &namespace("shop"));
    api.put(NODES, &node("here", "192.0.2.1"));
    api.put(NODES, &node("there", "192.0.2.2"));
    api.put(PODS, &pod("shop", "cart", "here", "10.1.0.1", "cart"));
    api.put(PODS, &pod("shop", "redis", "there", "10.1.1.1", "redis"));
    api
}

/// How often a list of this was begun.
fn lists(api: &Api, path: &str) -> usize {
    let asked = api.asked();
    let begins =
        |it: &&String| it.starts_with(&format!("{path}?limit")) && !it.contains("continue");
    asked.iter().filter(begins).count()
}

#[test]
fn everybody_in_the_cluster_is_known_by_address() {
    let api = cluster();
    let mut agent = pod("kube-system", "agent", "there", "192.0.2.2", "agent");
    agent["spec"]["hostNetwork"] = json!(true);
    api.put(PODS, &agent);
    let mut done = pod("shop", "done", "there", "10.1.1.9", "done");
    done["status"]["phase"] = json!("Succeeded");
    api.put(PODS, &done);
    let service = json!({"metadata": {"namespace": "shop", "name": "web"},
        "spec": {"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"], "ports": [{"port": 80}]}});
    api.put(SERVICES, &service);
    let mut asked = Asked::of(&api);
    asked.until_whole();
    let expected = [
        ("10.1.0.1", "pod shop/cart"),
        ("10.1.1.1", "pod shop/redis"),
        ("10.96.0.1", "service shop/web"),
        ("192.0.2.1", "node -/here"),
        ("192.0.2.2", "node -/there"),
    ];
    for (address, who) in expected {
        assert_eq!(asked.who(address).as_deref(), Some(who), "{address}");
    }
    assert_eq!(asked.held.len(), expected.len(), "{:?}", asked.held);
    // Those of this node by what others know them by, too.
    assert_eq!(asked.here.len(), 1);
    let cart = &asked.here[0];
    assert_eq!(cart.identity.name.as_deref(), Some("cart"));
    assert_eq!(cart.pod_uid.as_deref(), Some("uid-cart"));
    assert_eq!(cart.ids, ["id-cart".into()]);
    assert_eq!(cart.identity.labels.as_ref().unwrap()["app"], "cart".into());
    assert_eq!(&*cart.identity.ports[0].name, "web");
    assert!(cart.since.is_some());
}

#[test]
fn what_changes_is_told_within_a_moment() {
    let api = cluster();
    let mut asked = Asked::of(&api);
    asked.until_whole();
    api.put(PODS, &pod("shop", "more", "there", "10.1.1.2", "more"));
    asked.until_who("10.1.1.2", Some("pod shop/more"));
    // Its address is another's, before it is gone itself.
    let other = pod("shop", "other", "there", "10.1.1.2", "other");
    api.put(PODS, &other);
    asked.until_who("10.1.1.2", None);
    api.delete(PODS, &pod("shop", "more", "there", "10.1.1.2", "more"));
    asked.until_who("10.1.1.2", Some("pod shop/other"));
    // Moved, and relabelled.
    api.put(PODS, &pod("shop", "other", "here", "10.1.0.2", "another"));
    asked.until_who("10.1.0.2", Some("pod shop/other"));
    assert_eq!(asked.who("10.1.1.2"), None);
    assert_eq!(asked.here.len(), 2);
    api.delete(PODS, &other);
    asked.until("nobody else here", |it| it.here.len() == 1);
    assert_eq!(lists(&api, PODS), 1, "watched, not listed again");
}

#[test]
fn lists_come_in_pages() {
    let api = cluster();
    for number in 0..1200_u32 {
        let address = format!("10.2.{}.{}", number / 250, number % 250);
        api.put(
            PODS,
            &pod("many", &format!("p{number}"), "there", &address, "many"),
        );
    }
    let mut asked = Asked::of(&api);
    asked.until_whole();
    assert_eq!(asked.held.len(), 1202 + 2);
    let pages: Vec<String> = api
        .asked()
        .into_iter()
        .filter(|it| it.starts_with(PODS))
        .collect();
    let pages = pages.iter().filter(|it| it.contains("limit=500"));
    assert_eq!(pages.count(), 3);
}

#[test]
fn a_watch_goes_on_from_the_last_bookmark() {
    let api = cluster();
    let mut asked = Asked::of(&api);
    asked.until_whole();
    // Something else happens, so that pods are at a version that only a bookmark can have told.
    api.put(NAMESPACES, &namespace("other"));
    let version = api.version();
    api.cut();
    let query = "watch=1&allowWatchBookmarks=true&timeoutSeconds=300";
    api.until_asked(&format!("{PODS}?{query}&resourceVersion={version}"));
    api.put(PODS, &pod("shop", "more", "there", "10.1.1.2", "more"));
    asked.until_who("10.1.1.2", Some("pod shop/more"));
    assert_eq!(lists(&api, PODS), 1);
}

#[test]
fn what_happened_while_nobody_could_tell_is_found_out() {
    let api = cluster();
    let mut asked = Asked::of(&api);
    asked.until_whole();
    api.delete(PODS, &pod("shop", "redis", "there", "10.1.1.1", "redis"));
    api.put(PODS, &pod("shop", "more", "there", "10.1.1.2", "more"));
    api.compact();
    asked.until_who("10.1.1.2", Some("pod shop/more"));
    asked.until_who("10.1.1.1", None);
    // By the watch or, when its version was too old, by another list.
    api.put(PODS, &pod("shop", "last", "there", "10.1.1.3", "last"));
    asked.until_who("10.1.1.3", Some("pod shop/last"));
}

#[test]
fn a_cluster_need_not_have_everything() {
    let api = cluster();
    api.serve_not(SLICES);
    api.serve(BETA_SLICES);
    let mut asked = Asked::of(&api);
    asked.until_whole();
    assert_eq!(asked.trouble, None);
    api.until_asked(&format!("{BETA_SLICES}?watch"));
    let requests = api.asked();
    for path in [BETA_SLICES, ADMIN] {
        let times = requests.iter().filter(|it| it.starts_with(path));
        assert!(times.count() >= 1, "{path} in {requests:?}");
    }
    assert!(requests.iter().any(|it| it.starts_with(NETWORK_POLICIES)));
}
