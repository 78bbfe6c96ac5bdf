//! What goes past the hooks is seen to be missing.

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use aya::programs::links::LinkOrder;
use aya::programs::tc::TcAttachOptions;
use aya::programs::{SchedClassifier, TcAttachType};
use aya::{Ebpf, EbpfLoader};
use flowmon::lab::{Lab, Pod, traffic};
use netns_tests::{Ended, Watch, command, require_root, tool};
use serde_json::{Value, json};

type TestResult = Result<(), Box<dyn Error>>;

/// The port that `flowmon-ebpf/src/bin/bypass.rs` takes past the hooks.
const TAKEN: u16 = 7000;
const OTHER: u16 = 1000;

struct Network {
    lab: Lab,
    a: Pod,
    b: Pod,
}

impl Network {
    fn new() -> Result<Self, Box<dyn Error>> {
        let lab = Lab::with_gateways("cni0", &["10.77.0.1/16".parse()?])?;
        let a = lab.add_pod_at("a", "vetha", &lab.host(2))?;
        let b = lab.add_pod_at("b", "vethb", &lab.host(3))?;
        Ok(Self { lab, a, b })
    }

    fn watch(&self) -> Watch {
        Watch::start(self.lab.node(), &["--iface", "cni0", "--interval", "100ms"])
    }

    fn b(&self, port: u16) -> Result<SocketAddr, Box<dyn Error>> {
        Ok((self.b.ipv4().ok_or("b has no IPv4 address")?, port).into())
    }

    /// Datagrams from a to b, one way.
    fn send(&self, port: u16, count: u32) -> TestResult {
        let (a, b) = (&self.a.namespace, &self.b.namespace);
        traffic::udp_exchange(a, b, self.b(port)?, count, 100, false)?;
        Ok(())
    }

    /// Another's program at the port of a, before or behind flowmon's, that takes packets straight
    /// to b. It goes with the value.
    fn bypass(&self, order: LinkOrder) -> Result<Ebpf, Box<dyn Error>> {
        let mut ebpf = EbpfLoader::new()
            .override_global("IFINDEX", &self.b.ifindex, true)
            .load(&std::fs::read(object()?)?)?;
        let program: &mut SchedClassifier =
            ebpf.program_mut("bypass").ok_or("no program")?.try_into()?;
        program.load()?;
        self.lab.node().run(|| {
            let options = TcAttachOptions::TcxOrder(order);
            program.attach_with_options("vetha", TcAttachType::Ingress, options)
        })??;
        Ok(ebpf)
    }
}

/// Built with flowmon's own kernel side, beside the profiles.
fn object() -> Result<PathBuf, Box<dyn Error>> {
    let test = std::env::current_exe()?;
    let target = test.ancestors().nth(3).ok_or("no target directory")?;
    Ok(target.join("ebpf/bpfel-unknown-none/release/bypass"))
}

/// Interface, way and number of buffers of each bypass in the summary.
fn bypassed(ended: &Ended) -> Vec<(String, String, u64)> {
    let all = ended.said.summary.pointer("/bypassed");
    let all = all.and_then(Value::as_array).into_iter().flatten();
    let text = |bypass: &Value, field| bypass.get(field).and_then(Value::as_str).map(str::to_owned);
    all.filter_map(|bypass| {
        Some((
            text(bypass, "interface")?,
            text(bypass, "way")?,
            bypass.get("buffers")?.as_u64()?,
        ))
    })
    .collect()
}

fn ratio(ended: &Ended) -> Option<f64> {
    let ratio = ended.said.summary.pointer("/hook_coverage_ratio");
    ratio.and_then(Value::as_f64)
}

#[test]
fn what_a_redirect_takes_past_the_other_end_is_missing_there() -> TestResult {
    if !require_root("what_a_redirect_takes_past_the_other_end_is_missing_there") {
        return Ok(());
    }
    let network = Network::new()?;
    let watch = network.watch();
    let bypass = network.bypass(LinkOrder::last())?;
    network.send(OTHER, 300)?;
    network.send(TAKEN, 700)?;
    let ended = watch.stop();
    drop(bypass);
    ended.said.assert_reconciles();
    let there = ("vethb".to_owned(), "rx".to_owned(), 700);
    assert_eq!(bypassed(&ended), [there], "{}", ended.said.summary);
    // And what else b received: an ARP message or two.
    let ratio = ratio(&ended).ok_or("no ratio")?;
    assert!((0.3..0.305).contains(&ratio), "{ratio}");
    assert_eq!(ended.said.summary.pointer("/complete"), Some(&json!(false)));
    Ok(())
}

#[test]
fn what_is_taken_before_the_hook_is_missing_at_both_ends() -> TestResult {
    if !require_root("what_is_taken_before_the_hook_is_missing_at_both_ends") {
        return Ok(());
    }
    let network = Network::new()?;
    let watch = network.watch();
    let bypass = network.bypass(LinkOrder::first())?;
    network.send(OTHER, 300)?;
    network.send(TAKEN, 700)?;
    let ended = watch.stop();
    drop(bypass);
    let mut found = bypassed(&ended);
    found.sort();
    let missing = |interface: &str, way: &str| (interface.to_owned(), way.to_owned(), 700);
    assert_eq!(found, [missing("vetha", "tx"), missing("vethb", "rx")]);
    Ok(())
}

#[test]
fn the_table_says_it_while_it_happens() -> TestResult {
    if !require_root("the_table_says_it_while_it_happens") {
        return Ok(());
    }
    let network = Network::new()?;
    let args = [
        "watch",
        "--iface",
        "cni0",
        "--output",
        "table",
        "--interval",
        "1s",
    ];
    let mut flowmon: Command = command(netns_tests::flowmon_binary(), &args);
    flowmon.args(["--duration", "3s"]);
    let bypass = network.bypass(LinkOrder::last())?;
    let mut flowmon = network.lab.node().spawn_command(&mut flowmon)?;
    while flowmon.try_wait()?.is_none() {
        network.send(TAKEN, 100)?;
    }
    let said = String::from_utf8(flowmon.wait_with_output()?.stdout)?;
    drop(bypass);
    let lines: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("! bypass: of what vethb received"))
        .collect();
    assert!(lines.len() >= 2, "in an interval and at the end:\n{said}");
    assert!(
        lines.iter().all(|line| line.chars().count() <= 80),
        "{lines:?}"
    );
    assert!(said.ends_with("incomplete\n"), "{said}");
    Ok(())
}

#[test]
fn segmentation_and_merging_are_no_bypass() -> TestResult {
    if !require_root("segmentation_and_merging_are_no_bypass") {
        return Ok(());
    }
    let network = Network::new()?;
    let (a, b) = (&network.a.namespace, &network.b.namespace);
    let (node, off) = (network.lab.node(), ["tso", "off", "gso", "off"]);
    // What b sends passes the hook whole, and is cut on the way to a; what a sends is merged again
    // before the hook.
    tool(
        node,
        "ethtool",
        &[&["-K", "vetha"], &off[..], &["gro", "on"]].concat(),
    );
    tool(a, "ethtool", &[&["-K", "eth0"], &off[..]].concat());
    let watch = network.watch();
    traffic::tcp_transfer(a, b, network.b(0)?, 30_000_000, 30_000_000)?;
    let ended = watch.stop();
    ended.assert_clean();
    assert_eq!(ratio(&ended), Some(1.0), "{}", ended.said.summary);
    Ok(())
}
