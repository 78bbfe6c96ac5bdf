//! Watching leaves nothing behind and slows nobody down, however it ends.

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};

use flowmon::lab::{self, Lab, Namespace, Pod};
use netns_tests::{Watch, require_root, tool};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

type TestResult = Result<(), Box<dyn Error>>;

fn network() -> Result<(Lab, Pod, Pod), lab::Error> {
    let lab = Lab::new("cni0")?;
    let a = lab.add_pod_at("a", "vetha", &lab.host(2))?;
    let b = lab.add_pod_at("b", "vethb", &lab.host(3))?;
    Ok((lab, a, b))
}

/// The links and programs that a process holds, by their ids (`/proc/PID/fdinfo`).
fn held(pid: u32) -> Result<[BTreeSet<u64>; 2], Box<dyn Error>> {
    let mut held = [BTreeSet::new(), BTreeSet::new()];
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        let facts = fs::read_to_string(entry?.path())?;
        for (set, name) in held.iter_mut().zip(["link_id:", "prog_id:"]) {
            let ids = facts
                .lines()
                .filter_map(|line| line.strip_prefix(name)?.trim().parse().ok());
            set.extend::<Vec<u64>>(ids.collect());
        }
    }
    Ok(held)
}

/// Which of them the kernel still has.
fn left(node: &Namespace, held: &[BTreeSet<u64>; 2]) -> Result<Vec<String>, Box<dyn Error>> {
    let mut left = Vec::new();
    for (kind, ids) in ["link", "prog"].into_iter().zip(held) {
        let there: Vec<Value> =
            serde_json::from_str(&tool(node, "bpftool", &["-j", kind, "show"]))?;
        let there = there.iter().filter_map(|one| one.get("id")?.as_u64());
        left.extend(
            there
                .filter(|id| ids.contains(id))
                .map(|id| format!("{kind} {id}")),
        );
    }
    Ok(left)
}

/// Sends from a to b, and checks what arrives, until told to stop and a megabyte after that.
fn transfer(a: &Pod, b: &Pod, stop: &AtomicBool) -> Result<u64, Box<dyn Error + Send + Sync>> {
    let chunk = [b'.'; 16_384];
    let address = (b.ipv4().ok_or("b has no address")?, 80);
    let listener = b.namespace.run(|| TcpListener::bind(address))??;
    let mut near = a.namespace.run(|| TcpStream::connect(address))??;
    let (mut far, _) = listener.accept()?;
    let (mut buffer, mut more, mut sent) = ([0; 16_384], 64, 0);
    while more > 0 {
        more -= u32::from(stop.load(Ordering::Relaxed));
        near.write_all(&chunk)?;
        far.read_exact(&mut buffer)?;
        assert_eq!(buffer, chunk);
        sent += chunk.len() as u64;
    }
    Ok(sent)
}

#[test]
fn however_it_ends_nothing_stays_and_traffic_goes_on() -> TestResult {
    if !require_root("however_it_ends_nothing_stays_and_traffic_goes_on") {
        return Ok(());
    }
    let (lab, a, b) = network()?;
    // Links: two ports, two ways each; programs: one for each way, and the clock. And the witness's.
    let modes = [("off", [4, 3]), ("skb", [4 + 2, 3 + 1])];
    let signals = [Signal::SIGKILL, Signal::SIGTERM];
    let all = signals
        .into_iter()
        .flat_map(|signal| modes.map(|mode| (signal, mode)));
    for (signal, (xdp, counts)) in all {
        let mut watch = Watch::start(lab.node(), &["--iface", "cni0", "--xdp", xdp]);
        let held = held(watch.pid())?;
        assert_eq!(held.each_ref().map(BTreeSet::len), counts, "{xdp}");
        assert_eq!(left(lab.node(), &held)?.len(), counts.iter().sum::<usize>());
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| -> TestResult {
            let transfer = scope.spawn(|| transfer(&a, &b, &stop));
            watch.wait_for_record(|record| record.pointer("/remote/port") == Some(&json!(80)));
            watch.signal(signal);
            let ended = watch.ended();
            stop.store(true, Ordering::Relaxed);
            assert_eq!(ended.code, (signal != Signal::SIGKILL).then_some(0));
            assert_eq!(left(lab.node(), &held)?, Vec::<String>::new(), "{signal}");
            let sent = transfer.join().map_err(|_| "the transfer panicked")?;
            assert!(sent.map_err(|error| error.to_string())? > 1 << 20);
            Ok(())
        })?;
        assert!(!tool(lab.node(), "tc", &["qdisc", "show"]).contains("clsact"));
    }
    Ok(())
}

#[test]
fn offloads_and_settings_stay_as_they_are() -> TestResult {
    if !require_root("offloads_and_settings_stay_as_they_are") {
        return Ok(());
    }
    let (lab, a, _b) = network()?;
    let look = || {
        let pod = |program, args| tool(&a.namespace, program, args);
        let node = |program, args| tool(lab.node(), program, args);
        [
            pod("ethtool", &["-k", "eth0"]),
            node("ethtool", &["-k", "vetha"]),
            pod("tc", &["qdisc", "show"]),
            node("tc", &["qdisc", "show"]),
            pod("ip", &["-d", "link", "show", "eth0"]),
            node("ip", &["-d", "link", "show", "vetha"]),
        ]
    };
    let before = look();
    let watch = Watch::start(lab.node(), &["--iface", "cni0"]);
    let meanwhile = look();
    watch.stop().assert_clean();
    assert_eq!(meanwhile, before);
    assert_eq!(look(), before);
    let [offloads, ..] = before;
    assert!(
        offloads.contains("tcp-segmentation-offload: on"),
        "{offloads}"
    );
    Ok(())
}
