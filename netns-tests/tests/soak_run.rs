//! `flowmon run` while everything comes and goes: it is scraped and given other policies each second, its log is on
//! a tiny disk that is mostly full, a runtime hangs, pods come and go, and new flows come all the time. Nothing
//! is missed, nothing grows.
//!
//! `FLOWMON_SOAK_SECONDS` says for how long, `FLOWMON_SOAK_RATE` how many flows are opened a second;
//! `scripts/soak-daemon` does.

use std::{
    collections::BTreeMap,
    error::Error,
    fs,
    net::{IpAddr, Ipv4Addr, UdpSocket},
    os::unix::net::UnixListener,
    path::Path,
    str::FromStr,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use flowmon::lab::{Pod, traffic};
use flowmon_common::Totals;
use netns_tests::{Samples, Site, Used, flowmon, interface_counters, require_root, tool};
use serde_json::{Value, json};

type TestResult<T = ()> = Result<T, Box<dyn Error>>;
type Sent<T> = Result<T, String>;

const DEFAULT: Duration = Duration::from_secs(12);
/// More than a debug build needs here.
const MOST_KILOBYTES: u64 = 200_000;
/// From when on memory is to be flat: series of endpoints that went stay for 5 minutes.
const WARM_SECONDS: f64 = 400.0;
/// New flows a second.
const RATE: u32 = 2000;
/// Peers of the flood: `10.79.0.0` and so many after it.
const PEERS: u32 = 60_000;
/// Sockets that it comes from: no flow is opened twice while its first is still known.
const SENDERS: usize = 64;

/// A number of the environment's.
fn asked<T: FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

/// Nobody may talk to the server, at any time; the rest of the policies is another each time.
fn declare(site: &Site, number: u64) -> TestResult {
    let policy = |name: String, app: &str| {
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {
                "podSelector": {"matchLabels": {"app": app}},
                "policyTypes": ["Ingress"], "ingress": [],
            },
        })
    };
    let all = [
        policy("to-server".to_owned(), "server"),
        policy(format!("to-{number}"), "nobody"),
    ];
    let all = json!({"apiVersion": "v1", "kind": "List", "items": all});
    fs::create_dir_all(site.path("policies"))?;
    fs::write(site.path("next.json"), all.to_string())?;
    Ok(fs::rename(
        site.path("next.json"),
        site.path("policies/all.json"),
    )?)
}

fn inventory(site: &Site, pods: [(&str, &Pod); 2]) -> TestResult {
    let items = pods.map(|(name, pod)| {
        let address = pod.ipv4();
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"namespace": "default", "name": name, "labels": {"app": name}},
            "spec": {"containers": [{"name": name, "image": name}]},
            "status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]},
        })
    });
    let all = json!({"apiVersion": "v1", "kind": "List", "items": items});
    Ok(fs::write(site.path("inventory.json"), all.to_string())?)
}

/// Connections to the server, each a violation of its own; how many.
fn violate(client: &Pod, server: &Pod, stop: &AtomicBool) -> Sent<u64> {
    let address = server.ipv4().ok_or("the server has no address")?;
    let mut ports = (1024u16..60_000).cycle();
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        let port = ports.next().unwrap_or_default();
        let (from, to) = (&client.namespace, &server.namespace);
        traffic::tcp_transfer(from, to, (address, port).into(), 1200, 900)
            .map_err(|error| error.to_string())?;
        count += 1;
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(count)
}

/// Flows of one packet each, so many a second, to a network that is all the node.
fn flood(site: &Site, client: &Pod, rate: u32, stop: &AtomicBool) -> Sent<u32> {
    let open = |namespace: &flowmon::lab::Namespace, port: u16| -> Sent<UdpSocket> {
        let bind = || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port));
        let socket = namespace.run(bind).map_err(|error| error.to_string())?;
        socket.map_err(|error| error.to_string())
    };
    // Takes what it is sent, and never answers.
    let _receiver = open(site.lab.node(), 9999)?;
    let senders: Vec<UdpSocket> = (0..SENDERS)
        .map(|_| open(&client.namespace, 0))
        .collect::<Result<_, _>>()?;
    let mut senders = senders.iter().cycle();
    let (mut sender, mut peers) = (senders.next(), 0..PEERS);
    let began = Instant::now();
    let mut count = 0u32;
    while !stop.load(Ordering::Relaxed) {
        let due = Duration::from_secs_f64(f64::from(count) / f64::from(rate));
        std::thread::sleep(due.saturating_sub(began.elapsed()));
        for _ in 0..rate / 100 {
            let peer = peers.next().unwrap_or_else(|| {
                sender = senders.next();
                peers = 1..PEERS;
                0
            });
            let peer = Ipv4Addr::from_bits(Ipv4Addr::new(10, 79, 0, 0).to_bits() + peer);
            let sent = sender.map(|sender| sender.send_to(&[0; 18], (peer, 9999)));
            sent.transpose().map_err(|error| error.to_string())?;
            count += 1;
        }
    }
    Ok(count)
}

/// Pods come, say something, and go; how many.
fn churn(site: &Site, stop: &AtomicBool) -> Sent<u32> {
    let bridge: IpAddr = [10, 78, 0, 1].into();
    let mut count = 0u32;
    while !stop.load(Ordering::Relaxed) {
        count += 1;
        let number = u16::try_from(count % 1000).unwrap_or_default() + 1;
        let once = || {
            let name = format!("veth{number}");
            let address = site.lab.host(100 + number);
            let pod = site.lab.add_pod_at("guest", &name, &address)?;
            traffic::ping(&pod.namespace, bridge, number, 5, 0)?;
            site.lab.remove_pod(pod)
        };
        once().map_err(|error| error.to_string())?;
    }
    Ok(count)
}

/// Makes room on the disk, which is full again soon; every line that is there is whole.
fn make_room(log: &Path, stop: &AtomicBool) -> Sent<u32> {
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_secs(2));
        let text = fs::read_to_string(log).unwrap_or_default();
        whole_lines(&text)?;
        match fs::remove_file(log) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error.to_string());
            }
            _ => count += 1,
        }
    }
    Ok(count)
}

/// Parses every line but for one without an end, which may be on its way.
fn whole_lines(text: &str) -> Sent<Vec<Value>> {
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let lines = whole.lines().map(|line| {
        serde_json::from_str(line).map_err(|error| format!("a torn line: {error}: {line}"))
    });
    lines.collect()
}

fn reload(site: &Site, stop: &AtomicBool) -> Sent<u64> {
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        declare(site, number).map_err(|error| error.to_string())?;
        std::thread::sleep(Duration::from_secs(1));
    }
    Ok(number)
}

/// Sets it when it goes, however that happens.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// No counter of `before` is less.
fn assert_only_grown(before: &BTreeMap<String, f64>, now: &Samples) {
    for (series, value) in &now.0 {
        let name = series.split('{').next().unwrap_or_default();
        let is_counter = ["_total", "_count", "_sum", "_bucket"]
            .iter()
            .any(|end| name.ends_with(end));
        let before = before.get(series).filter(|_| is_counter);
        assert!(
            before.is_none_or(|before| before <= value),
            "{series} went back from {before:?} to {value}"
        );
    }
}

/// The label that tells which pod of the inventory it is.
fn of(pod: &Pod) -> String {
    let name = pod.interface.trim_start_matches("veth");
    format!("endpoint=\"{name}\"")
}

/// What is in flows and what is in none, of this pod or of all.
fn all_of(samples: &Samples, label: &str) -> Totals {
    let mut all = samples.totals("flow", label);
    all += samples.totals("unattributed", "");
    all
}

fn is_within(part: Totals, all: Totals) -> bool {
    [(part.tx, all.tx), (part.rx, all.rx)]
        .iter()
        .all(|(part, all)| part.packets <= all.packets && part.bytes <= all.bytes)
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one life, told from its beginning to its end"
)]
fn while_everything_comes_and_goes_metrics_miss_nothing() -> TestResult {
    if !require_root("while_everything_comes_and_goes_metrics_miss_nothing") {
        return Ok(());
    }
    let lasting = asked("FLOWMON_SOAK_SECONDS").map_or(DEFAULT, Duration::from_secs);
    let rate = asked("FLOWMON_SOAK_RATE").unwrap_or(RATE);
    let site = Site::new("soak");
    let [client, server] = [("vethclient", 2), ("vethserver", 3)]
        .map(|(name, host)| site.lab.add_pod_at(name, name, &site.lab.host(host)));
    let (client, server) = (client?, server?);
    let everywhere = ["route", "add", "local", "10.79.0.0/16", "dev", "lo"];
    tool(site.lab.node(), "ip", &everywhere);
    inventory(&site, [("client", &client), ("server", &server)])?;
    declare(&site, 0)?;
    let disk = site.path("disk");
    fs::create_dir_all(&disk)?;
    let mount = ["-t", "tmpfs", "-o", "size=256k", "tmpfs", &disk];
    tool(site.lab.node(), "mount", &mount);
    // A runtime that takes a connection and never says a word.
    let _silent = UnixListener::bind(site.path("silent.sock"))?;
    let (policies, inventory, silent) = (
        site.path("policies"),
        site.path("inventory.json"),
        site.path("silent.sock"),
    );
    let log = site.path("disk/flows.log");
    let args = [
        "--iface",
        "cni0",
        "--interval",
        "100ms",
        "--log",
        &log,
        "--policies",
        &policies,
        "--inventory",
        &inventory,
        "--cri-socket",
        &silent,
    ];
    let (daemon, address) = site.start_with(&args);

    let stop = AtomicBool::new(false);
    let began = Instant::now();
    let mut used = Vec::new();
    let mut before = BTreeMap::new();
    let mut most_series = 0;
    let log = Path::new(&log);
    let work = std::thread::scope(|scope| -> TestResult<[u64; 5]> {
        let stopping = Stop(&stop);
        let violating = scope.spawn(|| violate(&client, &server, &stop));
        let flooding = scope.spawn(|| flood(&site, &client, rate, &stop));
        let churning = scope.spawn(|| churn(&site, &stop));
        let reloading = scope.spawn(|| reload(&site, &stop));
        let making_room = scope.spawn(|| make_room(log, &stop));
        while began.elapsed() < lasting && !violating.is_finished() && !churning.is_finished() {
            std::thread::sleep(Duration::from_secs(1));
            let samples = site.scrape(address);
            assert_only_grown(&before, &samples);
            for pod in [&client, &server] {
                let crossed = interface_counters(site.lab.node(), pod);
                let flows = samples.totals("flow", &of(pod));
                assert!(is_within(flows, crossed), "{flows:?} of {crossed:?}");
            }
            most_series = most_series.max(samples.0.len());
            before = samples.0;
            used.push((began.elapsed().as_secs_f64(), Used::by(daemon.pid())));
        }
        drop(stopping);
        let died = |_| "a thread panicked";
        Ok([
            violating.join().map_err(died)??,
            flooding.join().map_err(died)??.into(),
            churning.join().map_err(died)??.into(),
            reloading.join().map_err(died)??,
            making_room.join().map_err(died)??.into(),
        ])
    })?;
    let [injected, flooded, guests, reloads, rooms] = work;

    // All is quiet: everything is there.
    let violations = |samples: &Samples| {
        samples.sum("flowmon_policy_violations_total", &["endpoint=\"server\""])
    };
    let samples = site.wait_for(address, |samples| {
        let crossed = [&client, &server].map(|pod| interface_counters(site.lab.node(), pod));
        let is_whole = |(pod, crossed): (&Pod, Totals)| {
            let all = all_of(samples, &of(pod));
            is_within(crossed, all)
        };
        violations(samples) >= injected && [&client, &server].into_iter().zip(crossed).all(is_whole)
    });
    // All of them are TCP, and none is twice.
    let odd = samples.0.iter().filter(|(series, value)| {
        let is_violation = series.starts_with("flowmon_policy_violations_total{");
        let is_tcp_once = series.contains("protocol=\"tcp\"") && **value <= 1.0;
        let is_of_server = series.contains("endpoint=\"server\"");
        is_violation && !is_tcp_once || series.starts_with("flowmon_flows_total{") && is_of_server
    });
    let odd: Vec<_> = odd.collect();
    assert_eq!(
        violations(&samples),
        injected,
        "violations counted, and injected: {odd:#?}"
    );
    let unattributed = samples.totals("unattributed", "").tx.packets;
    let most_unattributed = (injected + flooded) / 20;
    assert!(unattributed <= most_unattributed, "{unattributed}");
    assert_eq!(samples.sum("flowmon_policy_reload_failures_total", &[]), 0);
    let lost = samples.sum("flowmon_lost_total", &["what=\"sink_queue\""]);
    assert!(lost > 0, "the disk was never full");
    // Its last word has room.
    let remount = ["-o", "remount,size=64m", &disk];
    tool(site.lab.node(), "mount", &remount);
    let ended = daemon.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let lines = whole_lines(&fs::read_to_string(log)?)?;
    let summary = lines.last().ok_or("no summary")?;
    let number = |pointer: &str| summary.pointer(pointer).and_then(Value::as_u64);
    for part in ["tx_packets", "tx_bytes", "rx_packets", "rx_bytes"] {
        let of = |of: &str| number(&format!("/{of}/{part}")).unwrap_or_default();
        assert_eq!(
            of("totals"),
            of("attributed") + of("unattributed"),
            "{summary}"
        );
        assert!(of("totals") > 0, "{summary}");
    }
    assert_eq!(number("/violations"), Some(injected), "{summary}");
    assert!(number("/lost/sink_queue") >= Some(lost), "{summary}");

    // What it left is what a restart would go on with.
    for expected in [
        "removed what a daemon left pinned\n",
        "nothing was left behind\n",
    ] {
        let cleaned = flowmon(site.lab.node(), &["cleanup"]);
        assert_eq!(cleaned.stdout, expected, "{}", cleaned.stderr);
    }

    let most = |from: f64, to: f64| {
        let then = used.iter().filter(|(at, _)| (from..to).contains(at));
        then.map(|(_, used)| used.kilobytes).max()
    };
    let end = began.elapsed().as_secs_f64();
    let descriptors = used.iter().map(|(_, used)| used.descriptors).max();
    let (early, late) = (
        most(WARM_SECONDS, f64::midpoint(WARM_SECONDS, end)),
        most(f64::midpoint(WARM_SECONDS, end), end),
    );
    let processor = used
        .last()
        .map(|(at, used)| used.processor_seconds / at * 100.0);
    #[expect(clippy::print_stderr, reason = "what a long run is for")]
    {
        eprintln!(
            "{end:.0} s: {injected} violations, {flooded} flows of the flood, {guests} pods that came and went, \
             {reloads} reloads, {} scrapes, room was made {rooms} times, {lost} log records lost and counted, \
             {unattributed} packets unattributed, {most_series} samples at most; {:?} kB at most \
             ({early:?} kB, then {late:?} kB), {descriptors:?} descriptors, {processor:.1?} % of a processor",
            used.len(),
            most(0.0, f64::MAX),
        );
    }
    assert!(most(0.0, f64::MAX) < Some(MOST_KILOBYTES), "{used:?}");
    assert!(descriptors < Some(100), "{descriptors:?} descriptors");
    if let (Some(early), Some(late)) = (early, late) {
        assert!(
            late <= early + early / 10,
            "memory: {early} kB, then {late} kB"
        );
    }
    Ok(())
}
