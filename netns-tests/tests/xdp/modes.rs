//! On, off, in the driver; and beside another's.

use netns_tests::{Watch, require_root, tool};
use serde_json::{Value, json};

use crate::{Network, TestResult, end, number, part};

/// What `ip` says of XDP at pod a's veth: its mode and the program's id.
fn xdp_at(network: &Network) -> Option<(Value, Value)> {
    let shown = tool(
        network.node(),
        "ip",
        &["-j", "link", "show", "dev", "vetha"],
    );
    let shown: Value = serde_json::from_str(&shown).unwrap_or_default();
    let xdp = shown.pointer("/0/xdp")?;
    Some((xdp.get("mode")?.clone(), xdp.pointer("/prog/id")?.clone()))
}

fn offload(network: &Network) -> bool {
    tool(&network.a.namespace, "ethtool", &["-k", "eth0"]).contains("tcp-segmentation-offload: on")
}

#[test]
fn off_unless_asked_for() -> TestResult {
    if !require_root("off_unless_asked_for") {
        return Ok(());
    }
    let network = Network::new()?;
    let watch = Watch::start(network.node(), &["--iface", "vetha"]);
    assert_eq!(xdp_at(&network), None);
    network.exchange(1000, 3)?;
    let said = end(watch);
    for field in ["witness", "hygiene", "connections", "findings"] {
        assert_eq!(said.summary.get(field), None, "{field}");
    }
    Ok(())
}

#[test]
fn skb_leaves_the_containers_offload_alone() -> TestResult {
    const GENERIC: u32 = 2; // XDP_ATTACHED_SKB
    if !require_root("skb_leaves_the_containers_offload_alone") {
        return Ok(());
    }
    let network = Network::new()?;
    let watch = network.watch(&[]);
    let (mode, _) = xdp_at(&network).ok_or("nothing is attached")?;
    assert_eq!(mode, json!(GENERIC));
    assert!(offload(&network));
    drop(end(watch));
    assert_eq!(xdp_at(&network), None);
    Ok(())
}

#[test]
fn native_warns_what_it_costs_and_works() -> TestResult {
    const IN_THE_DRIVER: u32 = 1; // XDP_ATTACHED_DRV
    if !require_root("native_warns_what_it_costs_and_works") {
        return Ok(());
    }
    let network = Network::new()?;
    let mut watch = Watch::spawn(network.node(), &["--iface", "vetha", "--xdp", "native"]);
    let warning = watch.wait_for_stderr("WARN");
    assert!(warning.contains("segmentation offload"), "{warning}");
    watch.wait_for_stderr("watching");
    let (mode, _) = xdp_at(&network).ok_or("nothing is attached")?;
    assert_eq!(mode, json!(IN_THE_DRIVER));
    assert!(!offload(&network), "what the warning is about");
    network.exchange(1000, 50)?;
    let ended = watch.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended.said.assert_complete();
    assert_eq!(part(&ended.said, "/witness/mode"), &json!("native"));
    assert_eq!(number(&ended.said, "/witness/frames"), 50);
    assert_eq!(part(&ended.said, "/findings"), &json!([]));
    assert!(offload(&network));
    Ok(())
}

/// The other one is a flowmon, but that makes no difference.
#[test]
fn anothers_program_stays_and_flows_are_watched_all_the_same() -> TestResult {
    if !require_root("anothers_program_stays_and_flows_are_watched_all_the_same") {
        return Ok(());
    }
    let network = Network::new()?;
    let other = network.watch(&[]);
    let there = xdp_at(&network);
    assert_ne!(there, None);
    for mode in ["skb", "native"] {
        let args = ["--iface", "cni0", "--xdp", mode];
        let mut watch = Watch::spawn(network.node(), &args);
        let said = watch.wait_for_stderr("without the XDP witness");
        assert!(
            said.contains("vetha") && said.contains("another XDP program"),
            "{said}"
        );
        watch.wait_for_stderr("watching");
        network.exchange(1000, 3)?;
        let ended = watch.stop();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        ended.said.assert_complete();
        assert_eq!(number(&ended.said, "/witness/failed"), 1, "{mode}");
        assert_eq!(number(&ended.said, "/witness/interfaces"), 1, "{mode}");
        assert_eq!(xdp_at(&network), there, "{mode}");
    }
    let said = end(other);
    said.assert_complete();
    assert_eq!(number(&said, "/witness/frames"), 6);
    Ok(())
}
