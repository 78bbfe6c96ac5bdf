//! API servers that are slow, broken or lying: what was known stays, what is wrong is told, and all
//! is well as soon as it is.

use std::fs;

use flowmon::identity::Trouble;
use serde_json::json;

use crate::{
    Asked,
    kube_api::{Api, Fault, NETWORK_POLICIES, NODES, PODS, SLICES, node, pod},
};

fn cluster() -> Api {
    let api = Api::start().unwrap();
    api.put(NODES, &node("there", "192.0.2.2"));
    api.put(PODS, &pod("shop", "redis", "there", "10.1.1.1", "redis"));
    api
}

/// It has pods, this is wrong, then it is not.
fn fails_and_recovers(fault: Fault, says: &str) -> String {
    let api = cluster();
    let mut asked = Asked::of(&api);
    asked.until_whole();
    api.fail(PODS, fault);
    // What is known is known to be old, and nobody is taken for a stranger.
    let trouble = asked.until_trouble(says);
    assert!(!asked.is_whole);
    assert_eq!(asked.who("10.1.1.1").as_deref(), Some("pod shop/redis"));
    // The others go on.
    api.put(NODES, &node("more", "192.0.2.3"));
    asked.until_who("192.0.2.3", Some("node -/more"));
    api.put(PODS, &pod("shop", "more", "there", "10.1.1.2", "more"));
    api.heal();
    asked.until_who("10.1.1.2", Some("pod shop/more"));
    asked.until_whole();
    trouble
}

#[test]
fn a_right_that_is_missing_is_said_with_the_remedy() {
    let trouble = fails_and_recovers(Fault::Status(403), "pods: forbidden");
    assert!(trouble.contains("list and watch"), "{trouble}");
    assert!(
        trouble.contains("deploy/kubernetes/flowmon.yaml"),
        "{trouble}"
    );
}

#[test]
fn who_is_not_accepted_is_told_so() {
    fails_and_recovers(Fault::Status(401), "401");
}

#[test]
fn a_server_that_has_no_time_is_asked_again() {
    fails_and_recovers(Fault::Status(429), "pods: status 429");
    fails_and_recovers(Fault::Status(500), "pods: status 500");
}

#[test]
fn who_never_answers_is_not_waited_for() {
    fails_and_recovers(Fault::Silent, "pods: no answer in 5 s");
}

#[test]
fn garbage_is_not_believed() {
    for garbage in [
        &b"\x16\x03\x01\n"[..],
        b"{}\n",
        b"[]\n",
        b"{\"metadata\": {}, \"items\": [{}]}\n",
        b"{\"type\": \"ADDED\", \"object\": {\"metadata\": {}}}\n",
        b"{\"type\": \"ADDED\"",
        b"{\"metadata\": {\"resourceVersion\": \"1\"}, \"items\": [{\"metadata\": 7}]}\n",
    ] {
        fails_and_recovers(Fault::Says(garbage.to_vec()), "pods: ");
    }
}

#[test]
fn an_answer_without_an_end_is_not_taken() {
    // 100 MB of a list, and of a line of a watch.
    static PIECE: [u8; 1 << 14] = [b'['; 1 << 14];
    fails_and_recovers(
        Fault::Flood(&PIECE, 6400),
        "pods: there is an object larger than any should be",
    );
}

/// A page that is too large is asked for in parts.
#[test]
fn large_objects_come_a_few_at_a_time() {
    let api = cluster();
    for number in 0..60 {
        let mut large = pod("shop", &format!("p{number}"), "there", "10.1.1.1", "x");
        large["status"]["podIPs"] = json!([{"ip": format!("10.3.0.{number}")}]);
        large["metadata"]["annotations"] = json!({"a": "x".repeat(1 << 20)});
        api.put(PODS, &large);
    }
    let mut asked = Asked::of(&api);
    asked.until_whole();
    assert_eq!(asked.held.len(), 62);
}

#[test]
fn a_server_that_goes_away_is_waited_for() {
    let api = cluster();
    let mut asked = Asked::of(&api);
    asked.until_whole();
    api.cut_in_object();
    api.put(PODS, &pod("shop", "more", "there", "10.1.1.2", "more"));
    asked.until_who("10.1.1.2", Some("pod shop/more"));
    assert_eq!(asked.trouble, None, "once is not worth telling");
}

#[test]
fn a_list_whose_next_page_is_gone_begins_anew() {
    let api = cluster();
    for number in 0..600_u32 {
        let address = format!("10.2.{}.{}", number / 250, number % 250);
        api.put(
            PODS,
            &pod("many", &format!("p{number}"), "there", &address, "many"),
        );
    }
    // As if the second page were asked for too late.
    api.compact_after_first_page();
    let mut asked = Asked::of(&api);
    asked.until_whole();
    assert_eq!(asked.held.len(), 602);
    let requests = api.asked();
    let begun = requests
        .iter()
        .filter(|it| **it == format!("{PODS}?limit=500"));
    assert_eq!(begun.count(), 2, "{requests:?}");
}

#[test]
fn an_object_that_cannot_be_is_left_out() {
    let api = cluster();
    api.put(
        PODS,
        &pod("shop", "evil\u{1b}[2J", "there", "10.1.1.7", "x"),
    );
    api.put(PODS, &pod("shop", "evil", "there", "10.1.1.8", "\u{202e}x"));
    let mut asked = Asked::of(&api);
    asked.until_whole();
    assert_eq!(asked.held.len(), 2, "{:?}", asked.held);
}

#[test]
fn a_right_that_is_missing_from_the_start_is_said_and_the_rest_is_known() {
    let api = cluster();
    api.fail(NETWORK_POLICIES, Fault::Status(403));
    let mut asked = Asked::of(&api);
    asked.until_trouble("networkpolicies: forbidden");
    asked.until_who("10.1.1.1", Some("pod shop/redis"));
    assert!(!asked.is_whole);
    api.heal();
    asked.until_whole();
}

#[test]
fn what_every_cluster_has_must_be_there() {
    let api = cluster();
    api.serve_not(PODS);
    api.serve_not(SLICES);
    let mut asked = Asked::of(&api);
    let trouble = asked.until_trouble("/api/v1/pods is not there");
    assert!(!trouble.contains("endpointslices"), "{trouble}");
}

#[test]
fn a_kubeconfig_that_is_none_is_named() {
    let path = std::env::temp_dir().join(format!("flowmon-no-kubeconfig-{}", std::process::id()));
    let says = path.display().to_string();
    let mut asked = Asked::by(path.clone());
    asked.until_trouble(&says);
    assert!(matches!(asked.trouble, Some(Trouble::Broken(_))));
    fs::write(&path, "nonsense: [").unwrap();
    asked.until("nonsense", |it| {
        it.trouble().contains(&says) && !it.trouble().contains("No such")
    });
}
