//! A daemon ends, however it does, and the next one counts on where it was.

use std::{
    collections::BTreeSet,
    error::Error,
    fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use flowmon::{
    kernel::{Datapath, Frame},
    lab::{Lab, Pod, traffic},
};
use flowmon_common::{Ended, Totals};
use netns_tests::{
    Finished, PrivateMounts, Said, Watch, counted, flowmon, interface_counters, require_root, tool,
};
use serde_json::{Value, json};

type TestResult = Result<(), Box<dyn Error>>;

/// IPv4 only: nobody speaks unasked. The file system is this thread's.
struct Network {
    lab: Lab,
    bpffs: &'static Path,
    _mounts: PrivateMounts,
}

const DAEMON: [&str; 3] = ["--iface", "cni0", "--pin"];

impl Network {
    fn new() -> Result<Self, Box<dyn Error>> {
        let mounts = PrivateMounts::enter();
        Ok(Self {
            bpffs: mounts.bpffs(),
            lab: Lab::with_gateways("cni0", &["10.77.0.1/16".parse()?])?,
            _mounts: mounts,
        })
    }

    fn start(&self) -> Watch {
        Watch::start(self.lab.node(), &DAEMON)
    }

    /// A pod that the daemon watches from its first packet.
    fn add(&self, daemon: &mut Watch, name: &str, host: u16) -> Result<Pod, Box<dyn Error>> {
        let interface = format!("veth{name}");
        let pod = self
            .lab
            .add_pod_at(name, &interface, &self.lab.host(host))?;
        daemon.wait_for_stderr(&format!("attached interface=\"{interface}\""));
        Ok(pod)
    }

    fn ping(pod: &Pod, id: u16, count: u16) -> TestResult {
        let bridge = [10, 77, 0, 1].into();
        let answered = traffic::ping(&pod.namespace, bridge, id, count, 0)?;
        assert_eq!(answered, count);
        Ok(())
    }

    fn cleanup(&self) -> Finished {
        let finished = flowmon(self.lab.node(), &["cleanup"]);
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
        finished
    }

    /// What is in bpffs of flowmon's.
    fn pinned(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut folders = vec![self.bpffs.join("flowmon")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    folders.push(path);
                } else {
                    found.insert(path.display().to_string());
                }
            }
        }
        found
    }
}

/// Sets it when it goes, however that happens.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The links, programs and maps that a process holds, by their ids (`/proc/PID/fdinfo`).
#[derive(Debug, Default)]
struct Held([BTreeSet<u32>; 3]);

impl Held {
    fn by(pid: u32) -> Result<Self, Box<dyn Error>> {
        let mut held = Self::default();
        for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
            let facts = fs::read_to_string(entry?.path())?;
            for (set, name) in held.0.iter_mut().zip(["link_id:", "prog_id:", "map_id:"]) {
                let of_it = |line: &str| line.strip_prefix(name)?.trim().parse::<u32>().ok();
                set.extend(facts.lines().filter_map(of_it));
            }
        }
        Ok(held)
    }

    /// Which of them the kernel has.
    fn there(&self) -> Self {
        let links = aya::programs::loaded_links().flatten();
        let programs = aya::programs::loaded_programs().flatten();
        let maps = aya::maps::loaded_maps().flatten();
        let all: [BTreeSet<u32>; 3] = [
            links.map(|link| link.id()).collect(),
            programs.map(|program| program.id()).collect(),
            maps.map(|map| map.id()).collect(),
        ];
        let mut there = Self::default();
        for ((there, held), all) in there.0.iter_mut().zip(&self.0).zip(&all) {
            *there = held.intersection(all).copied().collect();
        }
        there
    }

    /// Are all of them gone? The kernel takes its time for maps and programs.
    fn assert_gone(&self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let there = self.there();
            if there.0.iter().all(BTreeSet::is_empty) {
                return;
            }
            assert!(Instant::now() < deadline, "still there: {there:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn sum(parts: &[Totals]) -> Totals {
    parts.iter().fold(Totals::default(), |mut sum, part| {
        sum += *part;
        sum
    })
}

fn assert_balanced(ended: &netns_tests::Ended, truth: Totals) {
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let said = &ended.said;
    assert_eq!(
        said.sum("totals"),
        sum(&[said.sum("attributed"), said.sum("unattributed")])
    );
    assert_eq!(said.sum("totals"), truth, "what the interfaces counted");
}

/// A number from 0 to `below`, another one each time.
fn random(state: &mut u64, below: u64) -> u64 {
    // Knuth's MMIX generator: where it begins does not matter here.
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % below
}

#[test]
fn killed_fifty_times_it_counts_everything() -> TestResult {
    const KILLS: u64 = 50;
    if !require_root("killed_fifty_times_it_counts_everything") {
        return Ok(());
    }
    let network = Network::new()?;
    let mut daemon = network.start();
    let a = network.add(&mut daemon, "a", 2)?;
    let b = network.add(&mut daemon, "b", 3)?;
    daemon.kill();
    let log = std::env::temp_dir().join(format!("flowmon-killed-{}.jsonl", std::process::id()));
    let path = log.to_string_lossy();
    let run = ["--iface", "cni0", "--listen", "127.0.0.1:0", "--log", &path];
    let stop = AtomicBool::new(false);
    let mut pings = 0;
    std::thread::scope(|scope| -> TestResult {
        // One flow all the time, and others that come and go; of no buffer that stands for several
        // packets, as the interface's counters count buffers.
        let pinging = scope.spawn(|| {
            let mut sent = 0u64;
            while !stop.load(Ordering::Relaxed) {
                Network::ping(&a, 7, 20).map_err(|error| error.to_string())?;
                sent += 20;
            }
            Ok::<_, String>(sent)
        });
        let connecting = scope.spawn(|| {
            let address = b.ipv4().ok_or("b has no address")?;
            let mut ports = (1024u16..60_000).cycle();
            while !stop.load(Ordering::Relaxed) {
                let address = (address, ports.next().unwrap_or_default()).into();
                traffic::tcp_transfer(&a.namespace, &b.namespace, address, 1200, 900)
                    .map_err(|error| error.to_string())?;
                std::thread::sleep(Duration::from_millis(5));
            }
            Ok::<_, String>(())
        });
        let stopping = Stop(&stop);
        let mut seed = u64::from(std::process::id());
        for round in 0..KILLS {
            // While it starts, or when it is at work.
            let often = ["--interval", "50ms"];
            let mut daemon = if round % 4 < 2 {
                Watch::daemon(network.lab.node(), &[&run[..], &often].concat())
            } else {
                Watch::spawn(network.lab.node(), &[&DAEMON[..], &often].concat())
            };
            let wait = if round % 2 == 0 {
                random(&mut seed, 400)
            } else {
                daemon.wait_for_stderr("watching");
                random(&mut seed, 200)
            };
            std::thread::sleep(Duration::from_millis(wait));
            daemon.kill(); // and every line that it wrote is one
        }
        drop(stopping);
        let failed = |_| "traffic panicked";
        pings = pinging.join().map_err(failed)??;
        connecting.join().map_err(failed)??;
        Ok(())
    })?;
    let daemon = network.start();
    let held = Held::by(daemon.pid())?;
    let ended = daemon.stop();
    assert_balanced(
        &ended,
        sum(&[&a, &b].map(|pod| interface_counters(network.lab.node(), pod))),
    );
    let flow = json!({"icmp": {"id": 7}, "endpoint": {"interface": "vetha"}});
    let flow = counted(ended.said.one(&flow));
    assert_eq!((flow.tx.packets, flow.rx.packets), (pings, pings));
    assert_eq!(ended.said.summary.pointer("/interfaces"), Some(&json!(2)));
    // A start cuts off the half of a line that the one before may have left: only the last can be.
    let logged = fs::read_to_string(&log)?;
    fs::remove_file(&log)?;
    let whole = logged.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let lines: Vec<String> = whole.lines().map(str::to_owned).collect();
    assert!(!Said::parse(&lines).records.is_empty(), "nothing is logged");
    // What is lost by being killed is where a few flows' packets belong, of those that ended.
    let unattributed = ended.said.sum("unattributed").tx.packets;
    let totals = ended.said.sum("totals").tx.packets;
    assert!(
        unattributed * 20 < totals,
        "{unattributed} of {totals} packets are in no flow"
    );

    let there = held.there();
    assert_eq!(there.0[0].len(), 4, "two interfaces, both ways");
    assert_eq!(
        network.cleanup().stdout,
        "removed what a daemon left pinned\n"
    );
    assert_eq!(network.pinned(), BTreeSet::new());
    held.assert_gone();
    assert_eq!(network.cleanup().stdout, "nothing was left behind\n");
    Ok(())
}

#[test]
fn a_stopped_one_is_gone_on_with_and_its_flows_are_no_news() -> TestResult {
    if !require_root("a_stopped_one_is_gone_on_with_and_its_flows_are_no_news") {
        return Ok(());
    }
    let network = Network::new()?;
    let mut daemon = network.start();
    let a = network.add(&mut daemon, "a", 2)?;
    Network::ping(&a, 1, 3)?;
    let first = daemon.stop();
    first.assert_clean();
    assert_balanced(&first, interface_counters(network.lab.node(), &a));
    Network::ping(&a, 1, 4)?;
    Network::ping(&a, 2, 5)?;

    let second = network.start().stop();
    assert_balanced(&second, interface_counters(network.lab.node(), &a));
    assert_eq!(second.said.sum("unattributed"), Totals::default());
    assert_eq!(second.said.summary.pointer("/complete"), Some(&json!(true)));
    let flows = [1, 2].map(|id| second.said.one(&json!({"icmp": {"id": id}})));
    assert_eq!(flows.map(|flow| counted(flow).tx.packets), [7, 5]);
    let first_words = |id: u64| {
        let of_it = |record: &&Value| record.pointer("/icmp/id") == Some(&json!(id));
        let found = second.said.records.iter().find(of_it);
        found.and_then(|record| record.pointer("/event")).cloned()
    };
    assert_eq!(first_words(1), Some(json!("update")));
    assert_eq!(first_words(2), Some(json!("new")));
    let began = |ended: &netns_tests::Ended| {
        let flow = ended.said.one(&json!({"icmp": {"id": 1}}));
        flow.pointer("/first_seen").cloned()
    };
    assert_eq!(began(&first), began(&second), "a flow has one beginning");
    // ICMP to the bridge, and who asked for its address.
    let flows = |ended: &netns_tests::Ended| ended.said.summary.pointer("/flows").cloned();
    assert_eq!(flows(&first), Some(json!(2)));
    assert_eq!(flows(&second), Some(json!(3)));
    Ok(())
}

#[test]
fn what_left_meanwhile_is_settled() -> TestResult {
    if !require_root("what_left_meanwhile_is_settled") {
        return Ok(());
    }
    let network = Network::new()?;
    let mut daemon = network.start();
    let a = network.add(&mut daemon, "a", 2)?;
    let b = network.add(&mut daemon, "b", 3)?;
    Network::ping(&a, 1, 3)?;
    Network::ping(&b, 2, 3)?;
    daemon.kill();
    Network::ping(&a, 1, 4)?;
    let gone = interface_counters(network.lab.node(), &a);
    let ifindex = a.ifindex;
    network.lab.remove_pod(a)?;
    // Another has its index: nothing of the one before is its own.
    let other = network
        .lab
        .add_pod_as("c", "vethc", Some(ifindex), &network.lab.host(4))?;

    let mut daemon = network.start();
    let said = daemon.wait_for_record(|record| {
        record.pointer("/event") == Some(&json!("end"))
            && record.pointer("/icmp/id") == Some(&json!(1))
    });
    assert_eq!(counted(&said).tx.packets, 7);
    assert_eq!(said.pointer("/endpoint/interface"), Some(&json!("vetha")));
    Network::ping(&other, 1, 2)?;
    // It stays settled, wherever the next one is killed.
    daemon.kill();
    let ended = network.start().stop();
    assert_balanced(
        &ended,
        sum(&[
            gone,
            interface_counters(network.lab.node(), &b),
            counted(ended.said.one(&json!({"icmp": {"id": 1}}))),
            counted(
                ended
                    .said
                    .one(&json!({"protocol": "arp", "endpoint": {"interface": "vethc"}})),
            ),
        ]),
    );
    assert_eq!(ended.said.summary.pointer("/interfaces"), Some(&json!(3)));
    Ok(())
}

#[test]
fn a_daemon_keeps_no_privilege_that_it_does_not_need() -> TestResult {
    // CAP_NET_BROADCAST, CAP_NET_ADMIN, CAP_SYS_PTRACE, CAP_PERFMON, CAP_BPF.
    const KEPT: u64 = 1 << 11 | 1 << 12 | 1 << 19 | 1 << 38 | 1 << 39;
    if !require_root("a_daemon_keeps_no_privilege_that_it_does_not_need") {
        return Ok(());
    }
    let network = Network::new()?;
    let mut daemon = network.start();
    let a = network.add(&mut daemon, "a", 2)?;
    Network::ping(&a, 1, 3)?;
    let mut threads = 0;
    for thread in fs::read_dir(format!("/proc/{}/task", daemon.pid()))? {
        let status = fs::read_to_string(thread?.path().join("status"))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            u64::from_str_radix(line.unwrap_or_default().trim(), 16).ok()
        };
        assert_eq!(field("CapPrm:"), Some(KEPT), "{status}");
        assert_eq!(field("CapEff:"), Some(KEPT), "{status}");
        assert_eq!(field("CapInh:"), Some(0), "{status}");
        assert_eq!(field("CapAmb:"), Some(0), "{status}");
        assert_eq!(field("NoNewPrivs:"), Some(1), "{status}");
        threads += 1;
    }
    assert!(threads > 2, "the writer and the sources are looked at too");
    // And that is enough: to attach, to watch, to detach, and to go on with what another left.
    network.lab.remove_pod(a)?;
    daemon.wait_for_stderr("detached interface=\"vetha\"");
    network.add(&mut daemon, "b", 3)?;
    daemon.stop().assert_clean();
    let mut daemon = network.start();
    network.add(&mut daemon, "c", 4)?;
    assert_eq!(daemon.stop().code, Some(0));
    Ok(())
}

#[test]
fn killed_before_it_forgot_an_interface_it_counts_it_once() -> TestResult {
    const LOOPBACK: u32 = 1;
    if !require_root("killed_before_it_forgot_an_interface_it_counts_it_once") {
        return Ok(());
    }
    let network = Network::new()?;
    let lives = || {
        let mut first = Datapath::take_over(64)?;
        first.register(LOOPBACK, 0)?;
        let frame = Frame {
            bytes: &[0; 64],
            ifindex: LOOPBACK,
            gso_segments: 0,
            repeat: 3,
        };
        first.run("flowmon_tx", &frame)?;
        let totals = first.totals(LOOPBACK)?;
        assert_eq!(totals.tx.packets, 3);
        let ended = Ended {
            traffic: totals,
            flows: 1,
        };
        first.settle(LOOPBACK, totals, ended)?;
        drop(first);

        let mut second = Datapath::take_over(64)?;
        assert_eq!(second.inherited(), []);
        let ledger = second.ledger()?;
        assert_eq!(
            (ledger.interfaces, ledger.totals, ledger.ended),
            (1, totals, ended)
        );
        let mut flows = 0;
        second.drain(|_| flows += 1)?;
        assert_eq!(flows, 0);
        // From here on another has its index.
        second.register(LOOPBACK, 0)?;
        assert_eq!(second.totals(LOOPBACK)?, Totals::default());
        second.run("flowmon_tx", &frame)?;
        drop(second);

        let third = Datapath::take_over(64)?;
        assert_eq!(third.inherited().len(), 1);
        assert_eq!(third.totals(LOOPBACK)?, totals);
        assert_eq!(third.ledger()?.interfaces, 1);
        Ok::<_, flowmon::kernel::Error>(())
    };
    Ok(network.lab.node().run(lives)??)
}

#[test]
fn a_network_namespace_has_one_daemon() -> TestResult {
    if !require_root("a_network_namespace_has_one_daemon") {
        return Ok(());
    }
    let network = Network::new()?;
    let mut daemon = network.start();
    let a = network.add(&mut daemon, "a", 2)?;
    let second = Watch::spawn(network.lab.node(), &DAEMON).ended();
    assert_eq!(second.code, Some(4));
    assert!(
        second
            .stderr
            .contains("a flowmon daemon runs in this network namespace"),
        "{}",
        second.stderr
    );
    assert_eq!(
        network.cleanup().stdout,
        "a flowmon daemon is running here: what is its own stays\n"
    );
    // Who only watches does so beside it, and leaves what is the daemon's.
    let watch = Watch::start(network.lab.node(), &["--iface", "cni0"]);
    Network::ping(&a, 1, 3)?;
    watch.stop().assert_clean();
    daemon.kill();
    let watch = Watch::start(network.lab.node(), &["--iface", "cni0"]);
    Network::ping(&a, 1, 3)?;
    watch.stop().assert_clean();
    let ended = network.start().stop();
    assert_balanced(&ended, interface_counters(network.lab.node(), &a));
    Ok(())
}

#[test]
fn what_is_laid_out_otherwise_is_replaced_and_said() -> TestResult {
    if !require_root("what_is_laid_out_otherwise_is_replaced_and_said") {
        return Ok(());
    }
    let network = Network::new()?;
    let mut daemon = network.start();
    let a = network.add(&mut daemon, "a", 2)?;
    Network::ping(&a, 1, 3)?;
    let held = Held::by(daemon.pid())?;
    daemon.kill();
    let maps = network.pinned();
    let folder = maps.iter().find_map(|path| path.strip_suffix("/FLOWS"));
    let folder = Path::new(folder.ok_or("no map is pinned")?);
    fs::rename(folder, folder.with_file_name("layout-000000000000"))?;

    let mut daemon = Watch::spawn(network.lab.node(), &DAEMON);
    daemon.wait_for_stderr("laid out otherwise");
    daemon.wait_for_stderr("watching vetha");
    held.assert_gone();
    Network::ping(&a, 1, 5)?;
    let ended = daemon.stop();
    let flow = counted(ended.said.one(&json!({"icmp": {"id": 1}})));
    assert_eq!(flow.tx.packets, 5);
    Ok(())
}

#[test]
fn by_clsact_the_filters_stay_and_go_on() -> TestResult {
    if !require_root("by_clsact_the_filters_stay_and_go_on") {
        return Ok(());
    }
    let network = Network::new()?;
    let clsact = [&DAEMON[..], &["--hook", "clsact"]].concat();
    let start = || Watch::start(network.lab.node(), &clsact);
    let mut daemon = start();
    let a = network.add(&mut daemon, "a", 2)?;
    let filters = || {
        let show = |way| {
            tool(
                network.lab.node(),
                "tc",
                &["filter", "show", "dev", "vetha", way],
            )
        };
        let both = [show("ingress"), show("egress")].concat();
        both.lines()
            .filter(|line| line.contains(" flowmon_"))
            .count()
    };
    for count in 1..=5 {
        Network::ping(&a, 1, 3)?;
        daemon.kill();
        Network::ping(&a, 1, 3)?;
        assert_eq!(filters(), 2);
        daemon = start();
        let told = daemon.wait_for_record(|record| {
            record.pointer("/icmp/id") == Some(&json!(1)) && counted(record).tx.packets == count * 6
        });
        assert_eq!(counted(&told).rx.packets, count * 6);
        assert_eq!(filters(), 2);
    }
    let ended = daemon.stop();
    assert_balanced(&ended, interface_counters(network.lab.node(), &a));
    assert_eq!(ended.said.sum("unattributed"), Totals::default());
    assert_eq!(
        network.cleanup().stdout,
        "removed what a daemon left pinned\nremoved a filter from vetha\nremoved a filter from vetha\n"
    );
    assert_eq!(network.pinned(), BTreeSet::new());
    assert!(!tool(network.lab.node(), "tc", &["qdisc", "show"]).contains("clsact"));
    Ok(())
}

#[test]
fn without_bpffs_a_daemon_says_what_it_takes() -> TestResult {
    if !require_root("without_bpffs_a_daemon_says_what_it_takes") {
        return Ok(());
    }
    let _mounts = PrivateMounts::enter();
    let lab = Lab::with_gateways("cni0", &["10.77.0.1/16".parse()?])?;
    let ended = Watch::spawn(lab.node(), &DAEMON).ended();
    assert_eq!(ended.code, Some(4));
    assert!(
        ended.stderr.contains("mount -t bpf bpf /sys/fs/bpf"),
        "{}",
        ended.stderr
    );
    Ok(())
}
