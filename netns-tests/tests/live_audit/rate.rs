//! Many flows a second, of which it is known which are violations.

use std::{
    error::Error,
    io,
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    sync::atomic::{AtomicBool, Ordering},
    thread::{self, sleep},
    time::{Duration, Instant},
};

use netns_tests::{Watch, require_root};
use serde_json::{Value, json};

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

/// Only ports below the limit are allowed.
fn policy(name: &str) -> String {
    let policy = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "podSelector": {}, "policyTypes": ["Egress"],
            "egress": [{"ports": [{"protocol": "UDP", "port": 1, "endPort": LIMIT - 1}]}],
        },
    });
    policy.to_string()
}

/// Sends, and holds the watch to what was sent. Meanwhile `disturb` is called again and again.
fn judged(
    test: &str,
    disturb: impl Fn(&Folder, u32) -> io::Result<()> + Sync,
) -> Result<Value, Box<dyn Error>> {
    let net = Net::new()?;
    let pod = net.pod("a", 2)?;
    let folder = Folder::new(test)?;
    let policy = folder.put("policy.json", &policy("low"))?;
    let inventory = folder.put("pods.json", &list(&[declared("default", "a", "a", None)]))?;
    let files = ["--policies", &policy, "--inventory", &inventory];
    let watch = Watch::start(
        net.lab.node(),
        &[&["--iface", &pod.interface], &files[..]].concat(),
    );
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let disturbing = scope.spawn(|| {
            let mut round = 0;
            while !is_over.load(Ordering::Relaxed) {
                disturb(&folder, round)?;
                round += 1;
                sleep(Duration::from_millis(10));
            }
            Ok::<_, io::Error>(())
        });
        let sent = pod.namespace.run(send);
        is_over.store(true, Ordering::Relaxed);
        let disturbed = disturbing.join();
        sent??;
        disturbed.map_err(|_| "disturbing failed")??;
        Ok::<_, Box<dyn Error>>(())
    })?;
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
    let packets = groups.iter().filter_map(|group| group["packets"].as_u64());
    assert_eq!(
        packets.sum::<u64>(),
        u64::from(violations),
        "of one packet each"
    );
    Ok(ended.said.summary)
}

#[test]
fn ten_thousand_flows_a_second_are_judged() -> TestResult {
    let test = "ten_thousand_flows_a_second_are_judged";
    if require_root(test) {
        judged(test, |_, _| Ok(()))?;
    }
    Ok(())
}

/// And by policies that are replaced all the time, for a while by what can't be used.
#[test]
fn reloads_miss_nothing() -> TestResult {
    let test = "reloads_miss_nothing";
    if !require_root(test) {
        return Ok(());
    }
    let summary = judged(test, |folder, round| {
        let policies = match round / 100 {
            1 => "this is no policy".to_owned(),
            _ => policy(&format!("low-{round}")),
        };
        folder.put("policy.json", &policies).map(|_| ())
    })?;
    let failures = summary["policy_reload_failures"].as_u64();
    assert!(failures > Some(0), "{failures:?}");
    let groups = summary["violation_groups"].as_array().ok_or("none")?;
    let mut policies: Vec<_> = groups.iter().map(|it| &it["verdict"]["policy"]).collect();
    policies.dedup();
    let first = json!("default/low");
    assert!(policies.iter().any(|it| **it != first), "{policies:?}");
    Ok(())
}
