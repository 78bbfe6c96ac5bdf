//! Violations in the live view, in a real terminal.

use std::{net::SocketAddr, path::Path};

use flowmon::lab::traffic;
use netns_tests::{Tmux, flowmon_binary, require_programs};

use crate::{Folder, Net, TestResult, address, declared, list};

#[test]
fn violations_are_seen_with_their_explanation() -> TestResult {
    let name = "violations_are_seen_with_their_explanation";
    if !require_programs(name, &["tmux", "stty"]) {
        return Ok(());
    }
    let net = Net::new()?;
    let (redis, web) = (net.pod("redis", 3)?, net.pod("web", 4)?);
    let folder = Folder::new("view")?;
    let pods = [&redis, &web].map(|pod| {
        let name = format!("{}-0", pod.name);
        declared("shop", &name, &pod.name, Some(address(pod)))
    });
    let inventory = folder.put("pods.json", &list(&pods))?;
    let policies = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/shop");
    let line = format!(
        "{} watch --iface cni0 --interval 300ms --policies {} --inventory {inventory}",
        flowmon_binary().display(),
        policies.display(),
    );
    let tmux = Tmux::run(net.lab.node(), name, &line);
    tmux.wait_for("No violations");
    let store = SocketAddr::new(address(&redis), 6379);
    traffic::tcp_connections(&web.namespace, &redis.namespace, store, 2, 10, 10)?;
    let screen = tmux.wait_for("2 kinds of violations");
    let has = |words: &[&str]| {
        let mut lines = screen.lines();
        lines.any(|line| words.iter().all(|word| line.contains(word)))
    };
    assert!(has(&["in flows", "4 denied"]), "{screen}");
    assert!(
        has(&["!shop/web-0", "→", "op/redis-0", "tcp/6379"]),
        "{screen}"
    );
    assert!(
        has(&["op/redis-0", "←", "shop/web-0", "tcp/6379"]),
        "{screen}"
    );
    assert!(
        has(&["! ", "web", "redis", "tcp/6379", "2 flows"]),
        "{screen}"
    );
    let why = "isolated, and no rule matches";
    assert!(
        has(&["egress denied by shop/default-deny", why]),
        "{screen}"
    );
    let why_ingress = "ingress denied by shop/redis-from-cart";
    assert!(has(&[why_ingress, why]), "{screen}");
    // From the violation to its talk, and to one of its flows.
    tmux.press(&["Tab", "Enter"]);
    tmux.wait_for("round trips");
    tmux.press(&["Down", "Enter"]);
    tmux.wait("why", |screen| {
        screen.contains("zero windows") && screen.contains(why)
    });
    tmux.press(&["q"]);
    tmux.assert_restored(1);
    Ok(())
}
