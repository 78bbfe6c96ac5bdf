//! What `--iface` takes: names, bridges, globs, `all`, and several of them.

use std::collections::BTreeSet;
use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use flowmon::lab::{Lab, traffic};
use flowmon::netlink::{Configure, Veth};
use flowmon_common::{Totals, Traffic};
use netns_tests::{Said, Watch, counted, require_root};
use serde_json::json;

type TestResult = Result<(), Box<dyn Error>>;

/// Headers of Ethernet, IPv4, and ICMP or UDP.
const HEADERS: u64 = 14 + 20 + 8;

fn both_ways(packets: u64, payload: u64) -> Totals {
    let traffic = Traffic {
        packets,
        bytes: packets * (HEADERS + payload),
    };
    Totals {
        tx: traffic,
        rx: traffic,
    }
}

/// What was counted at each interface in flows of this protocol.
fn counts(said: &Said, protocol: &str) -> Vec<(String, Totals)> {
    let flows = said.matching(&json!({"protocol": protocol}));
    let name = |flow: &&serde_json::Value| {
        let name = flow.pointer("/endpoint/interface");
        name.and_then(|name| name.as_str())
            .unwrap_or_default()
            .to_owned()
    };
    let mut counts: Vec<_> = flows
        .iter()
        .map(|flow| (name(flow), counted(flow)))
        .collect();
    counts.sort_by(|(a, _), (b, _)| a.cmp(b));
    counts
}

#[test]
fn names_bridges_globs_and_all_add_up() -> TestResult {
    if !require_root("names_bridges_globs_and_all_add_up") {
        return Ok(());
    }
    let lab = Lab::new("cni0")?;
    let _a = lab.add_pod_at("a", "vetha", &lab.host(2))?;
    let _b = lab.add_pod_at("b", "vethb", &lab.host(3))?;
    // A pair that is on no bridge.
    lab.node().block_on(async || {
        let veth = Veth {
            name: "near",
            ifindex: None,
            peer: "far",
            peer_netns: None,
        };
        Configure::open()?.create_veth(&veth).await
    })??;
    let expectations: [(&[&str], &[&str]); 8] = [
        (&["--iface", "vetha"], &["vetha"]),
        (&["--iface", "cni0"], &["vetha", "vethb"]),
        (&["--iface", "cni?"], &["vetha", "vethb"]),
        (&["--iface", "veth[ab]"], &["vetha", "vethb"]),
        (&["--iface", "all"], &["vetha", "vethb", "near", "far"]),
        (&["--iface", "vetha,lo"], &["vetha", "lo"]),
        (&["--iface", "vethb", "lo"], &["vethb", "lo"]),
        (
            &["--iface", "f*", "--iface", "cni0"],
            &["far", "vetha", "vethb"],
        ),
    ];
    for (args, expected) in expectations {
        let mut watch = Watch::spawn(lab.node(), args);
        let line = watch.wait_for_stderr("watching");
        let (_, names) = line.split_once("watching ").ok_or("no names")?;
        let names = names
            .split_once("interfaces: ")
            .map_or(names, |(_, names)| names);
        let names: BTreeSet<&str> = names.split(' ').collect();
        assert_eq!(names, expected.iter().copied().collect(), "{args:?}");
        let ended = watch.stop();
        ended.assert_clean();
        let count = ended.said.summary.pointer("/interfaces").cloned();
        assert_eq!(count, Some(json!(expected.len())), "{args:?}");
    }
    Ok(())
}

#[test]
fn only_what_was_asked_for_is_watched() -> TestResult {
    if !require_root("only_what_was_asked_for_is_watched") {
        return Ok(());
    }
    let lab = Lab::new("cni0")?;
    let a = lab.add_pod_at("a", "vetha", &lab.host(2))?;
    let b = lab.add_pod_at("b", "vethb", &lab.host(3))?;
    let watch = Watch::start(lab.node(), &["--iface", "vethb"]);
    let server = SocketAddr::from((b.ipv4().ok_or("no address")?, 53));
    traffic::udp_exchange(&a.namespace, &b.namespace, server, 4, 100, true)?;
    let ended = watch.stop();
    ended.assert_clean();
    assert_eq!(
        counts(&ended.said, "udp"),
        [("vethb".to_owned(), both_ways(4, 100))]
    );
    Ok(())
}

#[test]
fn a_glob_waits_for_what_will_come() -> TestResult {
    if !require_root("a_glob_waits_for_what_will_come") {
        return Ok(());
    }
    let lab = Lab::new("cni0")?;
    let mut watch = Watch::spawn(lab.node(), &["--iface", "pod-*"]);
    watch.wait_for_stderr("watching; no interface matches yet");
    let other = lab.add_pod_at("b", "vethb", &lab.host(3))?;
    let pod = lab.add_pod_at("a", "pod-a", &lab.host(2))?;
    watch.wait_for_stderr("attached interface=\"pod-a\"");
    let bridge = IpAddr::from(Ipv4Addr::new(10, 77, 0, 1));
    traffic::ping(&pod.namespace, bridge, 7, 2, 0)?;
    traffic::ping(&other.namespace, bridge, 7, 2, 0)?; // not watched yet
    // One that comes to match by its new name.
    lab.node()
        .block_on(async || Configure::open()?.rename(other.ifindex, "pod-b").await)??;
    watch.wait_for_stderr("attached interface=\"pod-b\"");
    traffic::ping(&other.namespace, bridge, 7, 3, 0)?;
    let ended = watch.stop();
    ended.assert_clean();
    let (first, second) = (both_ways(2, 0), both_ways(3, 0));
    assert_eq!(
        counts(&ended.said, "icmp"),
        [("pod-a".to_owned(), first), ("pod-b".to_owned(), second)]
    );
    Ok(())
}

#[test]
fn loopback_is_this_hosts_own() -> TestResult {
    if !require_root("loopback_is_this_hosts_own") {
        return Ok(());
    }
    let lab = Lab::new("cni0")?;
    let watch = Watch::start(lab.node(), &["--iface", "lo"]);
    let here = IpAddr::from(Ipv4Addr::LOCALHOST);
    traffic::ping(lab.node(), here, 7, 3, 0)?;
    let sent = traffic::udp_exchange(lab.node(), lab.node(), (here, 0).into(), 5, 100, true)?;
    let ended = watch.stop();
    ended.assert_clean();
    // Everything goes out of it and comes in again, so each of the two ends is seen whole.
    let end = |ip: IpAddr, port: u16| json!({"ip": ip, "port": port});
    let (client, server) = (end(here, sent.client.port()), end(here, sent.server.port()));
    for (local, remote, direction) in [(&client, &server, "egress"), (&server, &client, "ingress")]
    {
        let flow = ended.said.one(&json!({
            "endpoint": {"interface": "lo", "ifindex": 1, "kind": "host"},
            "local": local, "remote": remote, "direction": direction,
        }));
        assert_eq!(counted(flow), both_ways(5, 100));
    }
    let whole = ("lo".to_owned(), both_ways(3, 0));
    assert_eq!(counts(&ended.said, "icmp"), [whole.clone(), whole]);
    Ok(())
}
