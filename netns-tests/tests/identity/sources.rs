//! Sources that are absent, silent or lying keep nobody from watching, and show.

use std::{collections::BTreeSet, fs, io::Write as _, os::unix::net::UnixListener, thread};

use flowmon::lab::{Lab, traffic};
use netns_tests::{PrivateMounts, Watch, flowmon, require_root};
use serde_json::{Value, json};

use crate::TestResult;

#[test]
fn broken_sources_keep_nobody_waiting() -> TestResult {
    if !require_root("broken_sources_keep_nobody_waiting") {
        return Ok(());
    }
    let mounts = PrivateMounts::enter();
    // One takes connections and never answers, one answers with what nobody asked for; one is no
    // socket at all, and the results are no folder.
    let silent = UnixListener::bind("/run/docker.sock")?;
    let lying = UnixListener::bind("/run/cri.sock")?;
    thread::spawn(move || {
        for mut connection in lying.incoming().flatten() {
            // Who is told nonsense may hang up first.
            let _told = connection.write_all(&[b'\x1b'; 4096]);
        }
    });
    fs::write("/run/podman.sock", "")?;
    fs::write("/run/results", "")?;
    let lab = Lab::new("cni0")?;
    let blue = lab.add_pod("blue", &lab.host(2))?;
    mounts.name("blue", &blue.namespace);
    let places = [
        "--docker-socket",
        "/run/docker.sock",
        "--cri-socket",
        "/run/cri.sock",
        "--podman-socket",
        "/run/podman.sock",
        "--cni-results",
        "/run/results",
    ];
    let mut watch = Watch::start(lab.node(), &[&["--iface", "cni0"], &places[..]].concat());
    traffic::ping(&blue.namespace, "10.77.0.1".parse()?, 7, 3, 0)?;
    watch.wait_for_record(|record| record.pointer("/endpoint/name") == Some(&json!("blue")));
    let mut broken = BTreeSet::new();
    while broken.len() < 3 {
        let said = watch.wait_for_stderr("does not say who is who");
        broken.extend(
            ["docker", "cri", "cni"]
                .into_iter()
                .filter(|source| said.contains(&format!("{source} does not say"))),
        );
    }
    let ended = watch.stop();
    assert_eq!(ended.code, Some(0));
    ended.said.assert_complete();
    assert!(!ended.stderr.contains('\u{1b}'), "{}", ended.stderr);
    let said = flowmon(lab.node(), &[&["doctor"], &places[..]].concat()).stdout;
    let state = |source: &str| {
        let line = said
            .lines()
            .find(|line| line.contains(&format!("names: {source}")));
        line.and_then(|line| line.split(' ').next())
            .map(str::to_owned)
    };
    let expected = [
        ("netns", "ok"),
        ("cni", "degraded"),
        ("cri", "degraded"),
        ("docker", "degraded"),
        ("podman", "absent"),
    ];
    for (source, mark) in expected {
        assert_eq!(state(source).as_deref(), Some(mark), "{source}: {said}");
    }
    drop(silent);
    Ok(())
}

#[test]
fn interfaces_are_listed_with_who_is_behind_them() -> TestResult {
    if !require_root("interfaces_are_listed_with_who_is_behind_them") {
        return Ok(());
    }
    let mounts = PrivateMounts::enter();
    let lab = Lab::new("cni0")?;
    let blue = lab.add_pod_at("blue", "vetha", &lab.host(2))?;
    mounts.name("blue", &blue.namespace);
    let said = flowmon(lab.node(), &["interfaces", "--output", "json"]).stdout;
    let lines: Result<Vec<Value>, _> = said.lines().map(serde_json::from_str).collect();
    let lines = lines?;
    let veth = lines
        .iter()
        .find(|line| line.pointer("/name") == Some(&json!("vetha")));
    let veth = veth.ok_or("not listed")?;
    assert_eq!(veth.pointer("/kind"), Some(&json!("netns")));
    let endpoint =
        json!({"kind": "netns", "namespace": "default", "name": "blue", "source": "netns"});
    assert_eq!(veth.pointer("/endpoint"), Some(&endpoint));
    assert_eq!(
        veth.pointer("/addresses"),
        Some(&json!(["10.77.0.2", "fd77::2"]))
    );
    let table = flowmon(lab.node(), &["interfaces"]).stdout;
    let row = table.lines().find(|line| line.starts_with("vetha "));
    assert!(
        row.is_some_and(|row| row.contains("netns default/blue ")),
        "{table}"
    );
    Ok(())
}
