//! Flows whose ends get their names later are judged later.

use std::net::SocketAddr;

use flowmon::lab::{Lab, traffic};
use netns_tests::{PrivateMounts, Watch, require_root};
use serde_json::{Value, json};

use crate::{Folder, TestResult, declared, ingress, is, list};

#[test]
fn a_flow_is_judged_when_its_ends_get_names() -> TestResult {
    if !require_root("a_flow_is_judged_when_its_ends_get_names") {
        return Ok(());
    }
    let mounts = PrivateMounts::enter();
    let lab = Lab::with_gateways("cni0", &["10.77.0.1/24".parse()?])?;
    let blue = lab.add_pod("blue", &lab.host(2))?;
    let green = lab.add_pod("green", &lab.host(3))?;
    let folder = Folder::new("names")?;
    let policy = folder.put("policy.json", &ingress("green", &[]))?;
    let pods = ["blue", "green"].map(|name| declared("default", name, name, None));
    let inventory = folder.put("pods.json", &list(&pods))?;
    // No reading of counters in between.
    let mut watch = Watch::start(
        lab.node(),
        &[
            "--iface",
            "cni0",
            "--interval",
            "1h",
            "--policies",
            &policy,
            "--inventory",
            &inventory,
        ],
    );
    let server = SocketAddr::from((green.ipv4().ok_or("no address")?, 7000));
    traffic::udp_exchange(&blue.namespace, &green.namespace, server, 1, 100, false)?;
    let unknown = is(7000, "undecided", "unknown-pod");
    let first = watch.wait_for_record(&unknown);
    let first = &first["endpoint"]["interface"];
    watch.wait_for_record(|it| unknown(it) && it["endpoint"]["interface"] != *first);
    mounts.name("blue", &blue.namespace);
    mounts.name("green", &green.namespace);
    // At green, and at blue, in any order.
    let denied = is(7000, "denied", "no-rule-matched");
    let allowed = is(7000, "allowed", "not-isolated");
    let allowed = |it: &Value| allowed(it) && it["verdict"]["peer_outcome"] == json!("denied");
    let one = watch.wait_for_record(|it| denied(it) || allowed(it));
    let other = watch.wait_for_record(|it| {
        if denied(&one) {
            allowed(it)
        } else {
            denied(it)
        }
    });
    let at = if denied(&one) {
        ["green", "blue"]
    } else {
        ["blue", "green"]
    };
    assert_eq!([&one, &other].map(|it| &it["endpoint"]["name"]), at);
    let ended = watch.stop();
    assert_eq!(ended.code, Some(1));
    ended.said.assert_complete();
    let summary = &ended.said.summary;
    assert_eq!(
        (&summary["violations"], &summary["undecided"]),
        (&json!(1), &json!(0)),
        "{summary}"
    );
    Ok(())
}

/// Of somebody on the bridge whose name is not known it can't be said whether a rule is about them.
#[test]
fn a_peer_without_a_name_leaves_it_undecided() -> TestResult {
    if !require_root("a_peer_without_a_name_leaves_it_undecided") {
        return Ok(());
    }
    let mounts = PrivateMounts::enter();
    let lab = Lab::with_gateways("cni0", &["10.77.0.1/24".parse()?])?;
    let blue = lab.add_pod("blue", &lab.host(2))?;
    let green = lab.add_pod("green", &lab.host(3))?;
    mounts.name("green", &green.namespace);
    let folder = Folder::new("peer")?;
    let policy = folder.put("policy.json", &ingress("green", &["blue"]))?;
    let pods = ["blue", "green"].map(|name| declared("default", name, name, None));
    let inventory = folder.put("pods.json", &list(&pods))?;
    let mut watch = Watch::start(
        lab.node(),
        &[
            "--iface",
            "cni0",
            "--policies",
            &policy,
            "--inventory",
            &inventory,
        ],
    );
    let server = SocketAddr::from((green.ipv4().ok_or("no address")?, 7000));
    traffic::udp_exchange(&blue.namespace, &green.namespace, server, 1, 100, false)?;
    let at_green = |it: &Value| it["endpoint"]["name"] == json!("green");
    let unknown = is(7000, "undecided", "unknown-pod");
    watch.wait_for_record(|it| unknown(it) && at_green(it));
    mounts.name("blue", &blue.namespace);
    let matched = is(7000, "allowed", "rule-matched");
    watch.wait_for_record(|it| matched(it) && at_green(it));
    let ended = watch.stop();
    ended.assert_clean();
    assert_eq!(ended.said.summary["violations"], json!(0));
    Ok(())
}
