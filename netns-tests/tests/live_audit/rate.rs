//! Many flows a second, of which it is known which are violations.

use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    thread::sleep,
    time::{Duration, Instant},
};

use netns_tests::{Watch, require_root};
use serde_json::json;

use crate::{Folder, Net, TestResult, declared, list};

const FLOWS: u16 = 30_000;
/// So many at once, each hundredth of a second.
const AT_ONCE: u16 = 100;
/// Ports below are allowed.
const LIMIT: u16 = 20_000;
const FIRST: u16 = 10_000;

/// Flows to a multicast group, which needs no neighbour: 10,000 a second, of one packet each.
fn send() -> io::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 9999))?;
    let began = Instant::now();
    for flow in 0..FLOWS {
        let group = SocketAddrV4::new(Ipv4Addr::new(239, 1, 1, 1), FIRST + flow);
        socket.send_to(&[0; 18], group)?;
        if flow % AT_ONCE == 0 {
            let due = Duration::from_millis(u64::from(flow / AT_ONCE) * 10);
            sleep(due.saturating_sub(began.elapsed()));
        }
    }
    Ok(())
}

#[test]
fn ten_thousand_flows_a_second_are_judged() -> TestResult {
    if !require_root("ten_thousand_flows_a_second_are_judged") {
        return Ok(());
    }
    let net = Net::new()?;
    let pod = net.pod("a", 2)?;
    let folder = Folder::new("rate")?;
    let policy = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "low", "namespace": "default"},
        "spec": {
            "podSelector": {}, "policyTypes": ["Egress"],
            "egress": [{"ports": [{"protocol": "UDP", "port": 1, "endPort": LIMIT - 1}]}],
        },
    });
    let policy = folder.put("policy.json", &policy.to_string())?;
    let inventory = folder.put("pods.json", &list(&[declared("default", "a", "a", None)]))?;
    let watch = Watch::start(
        net.lab.node(),
        &[
            "--iface",
            &pod.interface,
            "--policies",
            &policy,
            "--inventory",
            &inventory,
        ],
    );
    pod.namespace.run(send)??;
    let ended = watch.stop();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    ended.said.assert_complete();
    let (allowed, violations) = (LIMIT - FIRST, FLOWS - (LIMIT - FIRST));
    let summary = &ended.said.summary;
    assert_eq!(summary["allowed"], json!(allowed), "{summary}");
    assert_eq!(summary["violations"], json!(violations));
    assert_eq!(summary["undecided"], json!(0));
    for (outcome, flows) in [("allowed", allowed), ("denied", violations)] {
        let told = ended
            .said
            .matching(&json!({"verdict": {"outcome": outcome}}));
        assert_eq!(told.len(), usize::from(flows));
    }
    let groups = summary["violation_groups"].as_array().ok_or("none")?;
    let packets: u64 = groups
        .iter()
        .filter_map(|group| group["packets"].as_u64())
        .sum();
    assert_eq!(packets, u64::from(violations), "of one packet each");
    Ok(())
}
