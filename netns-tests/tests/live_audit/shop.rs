//! Known traffic, judged live by the example policies, and again by `audit` from the records.

use std::{collections::BTreeMap, net::SocketAddr, path::Path};

use flowmon::lab::{Namespace, traffic};
use netns_tests::{Said, Watch, counted, flowmon, require_root};
use serde_json::{Value, json};

use crate::{Folder, Net, TestResult, address, declared, list};

/// Packets and bytes of the flows with a verdict of this outcome.
fn sum(said: &Said, outcome: &str) -> (u64, u64, u64) {
    let flows = said.matching(&json!({"verdict": {"outcome": outcome}}));
    let totals = flows.iter().map(|flow| counted(flow));
    totals.fold((0, 0, 0), |(flows, packets, bytes), it| {
        (
            flows + 1,
            packets + it.tx.packets + it.rx.packets,
            bytes + it.tx.bytes + it.rx.bytes,
        )
    })
}

fn groups(summary: &Value) -> Vec<&Value> {
    summary["violation_groups"]
        .as_array()
        .into_iter()
        .flatten()
        .collect()
}

fn verdicts(said: &Said) -> BTreeMap<String, Value> {
    let name = |flow: &Value| format!("{} {} {}", flow["endpoint"], flow["local"], flow["remote"]);
    let flows = said.flows();
    let verdicts = flows.iter();
    verdicts
        .map(|flow| (name(flow), flow["verdict"].clone()))
        .collect()
}

/// What `audit --diff` says of a log.
fn audited(node: &Namespace, log: &str, policies: &str, inventory: &str) -> Said {
    let inputs = [
        "--flows",
        log,
        "--policies",
        policies,
        "--inventory",
        inventory,
    ];
    let args = [&["audit", "--output", "json", "--diff"], &inputs[..]].concat();
    let lines: Vec<String> = flowmon(node, &args)
        .stdout
        .lines()
        .map(str::to_owned)
        .collect();
    Said::parse(&lines)
}

#[test]
fn violations_are_counted_exactly_and_as_audit_does() -> TestResult {
    if !require_root("violations_are_counted_exactly_and_as_audit_does") {
        return Ok(());
    }
    let net = Net::new()?;
    let [cart, redis, web] = [
        net.pod("cart", 2)?,
        net.pod("redis", 3)?,
        net.pod("web", 4)?,
    ];
    let folder = Folder::new("shop")?;
    // The inventory knows them by their addresses, and calls them otherwise.
    let pods = [&cart, &redis, &web].map(|pod| {
        let name = format!("{}-0", pod.name);
        declared("shop", &name, &pod.name, Some(address(pod)))
    });
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
    let inventory = folder.put("pods.json", &list(&[&pods[..], &[namespace]].concat()))?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let policies = root.join("policies/shop").display().to_string();
    let watch = Watch::start(
        net.lab.node(),
        &[
            "--iface",
            "cni0",
            "--policies",
            &policies,
            "--inventory",
            &inventory,
        ],
    );
    let store = |port| SocketAddr::new(address(&redis), port);
    let (from, to) = (&cart.namespace, &redis.namespace);
    traffic::tcp_connections(from, to, store(6379), 3, 1000, 20_000)?;
    traffic::tcp_refused(from, store(6380))?;
    traffic::tcp_connections(&web.namespace, to, store(6379), 2, 10, 10)?;
    traffic::ping(&web.namespace, address(&redis), 1, 1, 0)?;
    let ended = watch.stop();
    assert_eq!(
        ended.code,
        Some(1),
        "there are violations: {}",
        ended.stderr
    );
    ended.said.assert_complete();

    let summary = &ended.said.summary;
    for (field, expected) in [
        // Three of the cart's to redis, at both ends.
        ("allowed", json!(6)),
        // The cart's to another port and the web's two, at both ends.
        ("violations", json!(6)),
        // The ping, at both ends.
        ("undecided", json!(2)),
        ("undecided_reasons", json!({"undefined-protocol": 2})),
        ("policies", json!({"NetworkPolicy": 4})),
        ("policy_reload_failures", json!(0)),
    ] {
        assert_eq!(summary[field], expected, "{field}: {summary}");
    }
    let not_judged = summary["not_judged"].as_object().ok_or("none")?;
    let judged = 6 + 6 + 2;
    let all = not_judged.values().filter_map(Value::as_u64).sum::<u64>() + judged;
    assert_eq!(summary["flows"], json!(all), "each flow is in one place");
    let (flows, packets, bytes) = sum(&ended.said, "denied");
    assert_eq!(flows, 6, "the records say so too");
    let number = |group: &Value, name: &str| group[name].as_u64().unwrap_or_default();
    let told = groups(summary)
        .iter()
        .fold((0, 0), |(packets, bytes), group| {
            (
                packets + number(group, "packets"),
                bytes + number(group, "bytes"),
            )
        });
    assert_eq!(told, (packets, bytes), "{summary}");
    let refused = groups(summary)
        .into_iter()
        .find(|group| group["endpoint"]["name"] == json!("cart-0") && group["port"] == json!(6380));
    let refused = refused.ok_or("no such violation")?;
    // A SYN and its reset.
    assert_eq!(
        (number(refused, "flows"), number(refused, "packets")),
        (1, 2)
    );
    assert_eq!(refused["verdict"]["policy"], json!("shop/cart-to-redis"));

    // From the records it is the same, flow by flow.
    let mut log = String::new();
    for line in ended.said.records.iter().chain([summary]) {
        log.push_str(&line.to_string());
        log.push('\n');
    }
    let log = folder.put("flows.jsonl", &log)?;
    let again = audited(net.lab.node(), &log, &policies, &inventory);
    assert_eq!(verdicts(&ended.said), verdicts(&again));
    assert_eq!(
        again.summary["changes"],
        json!({}),
        "nothing is new to audit"
    );
    Ok(())
}

#[test]
fn without_violations_the_exit_code_is_0() -> TestResult {
    if !require_root("without_violations_the_exit_code_is_0") {
        return Ok(());
    }
    let net = Net::new()?;
    let [a, b] = [net.pod("a", 2)?, net.pod("b", 3)?];
    let folder = Folder::new("fine")?;
    let policy = folder.put("policy.json", &crate::ingress("b", &["a"]))?;
    let pods = [
        declared("default", "a", "a", None),
        declared("default", "b", "b", None),
    ];
    let inventory = folder.put("pods.json", &list(&pods))?;
    let watch = Watch::start(
        net.lab.node(),
        &[
            "--iface",
            "cni0",
            "--policies",
            &policy,
            "--inventory",
            &inventory,
        ],
    );
    let server = SocketAddr::new(address(&b), 7000);
    traffic::tcp_connections(&a.namespace, &b.namespace, server, 2, 10, 10)?;
    // The host is the pods' own node.
    traffic::ping(net.lab.node(), address(&b), 1, 1, 0)?;
    let ended = watch.stop();
    ended.assert_clean();
    let summary = &ended.said.summary;
    assert_eq!(summary["violations"], json!(0), "{summary}");
    assert_eq!(summary["undecided"], json!(0), "{summary}");
    let matched = json!({
        "endpoint": {"name": "b", "labels": {"app": "b"}}, "protocol": "tcp",
        "verdict": {"outcome": "allowed", "policy": "default/to-b", "rule": "ingress[0].from[0]"},
    });
    assert_eq!(ended.said.matching(&matched).len(), 2);
    ended.said.one(&json!({
        "endpoint": {"name": "b"}, "direction": "ingress", "protocol": "icmp",
        "verdict": {"outcome": "allowed", "reason": "own-node"},
    }));
    Ok(())
}
