//! Whoever asks many is told, though no flow is.

use flowmon::kernel::{Datapath, XdpMode};
use flowmon::netlink;
use netns_tests::{require_root, send_frames};
use serde_json::json;

use crate::{Network, TestResult, end, frames, number, part};

const A: [u8; 4] = [10, 77, 0, 2];

/// SYN to that many different addresses and ports.
fn scan(targets: u32) -> Vec<Vec<u8>> {
    (0..targets)
        .map(|n| {
            let [_, _, high, low] = n.to_be_bytes();
            frames::tcp(A, [10, 78, high, 1], 1 + u16::from(low), 0x02)
        })
        .collect()
}

#[test]
fn a_scan_is_found_while_the_flow_map_is_flooded() -> TestResult {
    const TARGETS: u32 = 20_000;
    if !require_root("a_scan_is_found_while_the_flow_map_is_flooded") {
        return Ok(());
    }
    let network = Network::new()?;
    // All in one interval.
    let watch = network.watch(&["--max-flows", "64", "--interval", "1m"]);
    send_frames(&network.a.namespace, "eth0", &scan(TARGETS));
    let said = end(watch);
    assert_eq!(number(&said, "/connections/syns"), u64::from(TARGETS));
    let targets = number(&said, "/connections/most_targets");
    let error = targets as f64 / f64::from(TARGETS) - 1.0;
    assert!(error.abs() < 0.3, "{targets} of {TARGETS}");
    assert_eq!(
        part(&said, "/findings/0/scan"),
        &json!({"targets": targets, "syns": TARGETS})
    );
    assert_eq!(part(&said, "/findings/0/interface"), &json!("vetha"));
    Ok(())
}

/// A busy client asks as often, but the same.
#[test]
fn many_connections_to_few_are_no_scan() -> TestResult {
    if !require_root("many_connections_to_few_are_no_scan") {
        return Ok(());
    }
    let network = Network::new()?;
    let watch = network.watch(&["--interval", "1m"]);
    let all: Vec<_> = (0..500).flat_map(|_| scan(20)).collect();
    send_frames(&network.a.namespace, "eth0", &all);
    let said = end(watch);
    assert_eq!(number(&said, "/connections/syns"), 10_000);
    let targets = number(&said, "/connections/most_targets");
    assert!((17..=23).contains(&targets), "{targets} of 20");
    assert_eq!(part(&said, "/findings"), &json!([]));
    Ok(())
}

/// Targets are those of an interval: nothing is left of what was asked before.
#[test]
fn each_interval_counts_anew() -> TestResult {
    if !require_root("each_interval_counts_anew") {
        return Ok(());
    }
    let network = Network::new()?;
    let interfaces = network.node().block_on(netlink::list)??;
    let vetha = interfaces.iter().find(|one| one.name == "vetha");
    let vetha = vetha.ok_or("vetha is not there")?;
    let mut datapath = Datapath::load(64)?;
    datapath.set_witness(Some(XdpMode::Skb));
    let hooks = network.node().run(|| datapath.attach(vetha, None, 0))??;
    assert_eq!(hooks.witness?, Some(XdpMode::Skb));
    for asked in [100, 0, 1000, 10, 0] {
        send_frames(&network.a.namespace, "eth0", &scan(asked));
        datapath.turn_targets()?;
        let targets = datapath.targets(vetha.ifindex)?.estimate() as f64;
        let error = targets - f64::from(asked);
        assert!(
            error.abs() <= 0.3 * f64::from(asked),
            "{targets} of {asked}"
        );
    }
    Ok(())
}
