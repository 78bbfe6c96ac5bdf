//! What the daemon costs: a scrape, memory, processor time, and its start; or some of them, by name.
#![expect(
    clippy::panic,
    clippy::print_stdout,
    reason = "a bench is a program for people"
)]

#[path = "table/row.rs"]
mod row;

use std::{
    fmt::Debug,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket},
    time::{Duration, Instant},
};

use flowmon::lab::Pod;
use netns_tests::{Samples, Site, Used, flowmon, http_get};

use row::Row;

/// Ports of one multicast group: multicast needs no neighbour, and nobody answers it.
const PORTS: u32 = 50_000;

fn may<T>(result: Result<T, impl Debug>) -> T {
    result.unwrap_or_else(|error| panic!("{error:?}"))
}

fn main() {
    Row::heading();
    let parts: [(&str, fn()); 4] = [
        ("scrape", scrape),
        ("memory", memory),
        ("processor", || {
            processor("metrics and log", |log| vec!["--log", log]);
            processor("metrics", |_| Vec::new());
        }),
        ("start", start),
    ];
    // Some of them by name, or all; cargo adds a flag of its own.
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|name| !name.starts_with('-'))
        .collect();
    for (name, part) in parts {
        if wanted.is_empty() || wanted.iter().any(|one| one == name) {
            part();
        }
    }
}

/// One measure, against nothing.
fn print(measure: &str, unit: &str, ours: &[f64], goal: &str) {
    Row {
        measure,
        unit,
        floor: &[],
        ours,
        goal,
    }
    .print();
}

/// A site with a daemon on its only pod's interface.
fn daemon(name: &str, args: &[&str]) -> (Site, netns_tests::Watch, SocketAddr, Pod) {
    let site = Site::new(name);
    let (mut daemon, address) = site.start_with(&[&["--iface", "cni0"], args].concat());
    let pod = may(site.add(&mut daemon, "a", 2));
    (site, daemon, address, pod)
}

/// Sends one packet to each of these, so many a second. The last must not come too early.
fn send(pod: &Pod, to: impl Iterator<Item = SocketAddrV4> + Send, a_second: u32) {
    let bind = || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 9999));
    let socket = may(may(pod.namespace.run(bind)));
    let began = Instant::now();
    for (number, to) in (0u32..).zip(to) {
        if number.is_multiple_of(a_second / 100) {
            let due = Duration::from_secs_f64(f64::from(number) / f64::from(a_second));
            std::thread::sleep(due.saturating_sub(began.elapsed()));
        }
        may(socket.send_to(&[0; 18], to));
    }
}

fn nth_group(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(239, 1, 0, 0)) + number)
}

/// As many flows as that, to few peers.
fn flows(flows: u32) -> impl Iterator<Item = SocketAddrV4> {
    (0..flows).map(|flow| {
        let port = u16::try_from(1024 + flow % PORTS).unwrap_or(u16::MAX);
        SocketAddrV4::new(nth_group(flow / PORTS), port)
    })
}

/// Reads metrics until as many packets are in flows.
fn counted(site: &Site, address: SocketAddr, packets: u64) {
    site.wait_for(address, |samples| {
        samples.sum("flowmon_interface_packets_total", &["way=\"tx\""]) >= packets
    });
}

/// Peers have three series each, and half of the budget is given to whoever comes.
fn scrape() {
    const PEERS: u32 = 6600;
    let args = ["--interval", "1s", "--max-series", "40000"];
    let (site, daemon, address, pod) = daemon("scrape", &args);
    let peers = (0..PEERS).map(|peer| SocketAddrV4::new(nth_group(peer), 5353));
    send(&pod, peers, 10_000);
    counted(&site, address, PEERS.into());
    let series = Samples::scrape(site.lab.node(), address).0.len();
    let before = Used::by(daemon.pid()).processor_seconds;
    let mut milliseconds = Vec::new();
    let mut bytes = 0;
    for _ in 0..25 {
        let began = Instant::now();
        bytes = may(http_get(site.lab.node(), address, "/metrics")).len();
        milliseconds.push(began.elapsed().as_secs_f64() * 1e3);
    }
    let processor = Used::by(daemon.pid()).processor_seconds - before;
    let measure = format!("a scrape of {series} series, {:.1} MB", bytes as f64 / 1e6);
    print(&measure, "ms", &milliseconds, "≤ 50");
    let each = processor * 1e3 / 25.0;
    print("the same", "ms of processor time", &[each], "");
    assert_eq!(daemon.stop().code, Some(0));
}

/// As many flows as there is room for by default, all of them live.
fn memory() {
    const FLOWS: u32 = 65_536;
    let log = log();
    let (site, daemon, address, pod) = daemon("memory", &["--interval", "1s", "--log", &log]);
    send(&pod, flows(FLOWS), 20_000);
    // The kernel makes room before its map is quite full.
    let live = |samples: &Samples| samples.sum("flowmon_map_entries", &["map=\"flows\""]);
    let samples = site.wait_for(address, |samples| {
        live(samples) > u64::from(FLOWS) * 99 / 100
    });
    let live = live(&samples);
    let used = Used::by(daemon.pid());
    let measure = format!("memory at {live} live flows");
    print(&measure, "MB", &[used.kilobytes as f64 / 1024.0], "≤ 64");
    print(
        "the most until then",
        "MB",
        &[used.peak_kilobytes as f64 / 1024.0],
        "",
    );
    assert_eq!(daemon.stop().code, Some(0));
    may(std::fs::remove_file(log));
}

fn log() -> String {
    let name = format!("flowmon-bench-{}.log", std::process::id());
    std::env::temp_dir().join(name).display().to_string()
}

/// New flows at a steady rate, of one packet each.
fn processor(what: &str, args: fn(&str) -> Vec<&str>) {
    const A_SECOND: u32 = 10_000;
    const SECONDS: u32 = 10;
    let (mut percent, mut microseconds) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let name = log();
        let (site, daemon, address, pod) = daemon("processor", &args(&name));
        let before = Used::by(daemon.pid()).processor_seconds;
        send(&pod, flows(A_SECOND * SECONDS), A_SECOND);
        // What is read at the end of the interval is a part of it.
        counted(&site, address, (A_SECOND * SECONDS).into());
        let used = Used::by(daemon.pid()).processor_seconds - before;
        percent.push(used * 100.0 / f64::from(SECONDS));
        microseconds.push(used * 1e6 / f64::from(A_SECOND * SECONDS));
        assert_eq!(daemon.stop().code, Some(0));
        let _there_may_be_none = std::fs::remove_file(&name);
    }
    let measure = format!("10,000 new flows a second, {what}");
    print(&measure, "% of a processor", &percent, "");
    print(&measure, "µs of processor time a flow", &microseconds, "");
}

/// From the start of the process until it watches 100 veths; and when it goes on with what is attached.
fn start() {
    let site = Site::new("start");
    let pods: Vec<Pod> = (0..100)
        .map(|number| {
            let host = site.lab.host(2 + number);
            may(site.lab.add_pod_at("p", &format!("veth{number}"), &host))
        })
        .collect();
    assert_eq!(pods.len(), 100);
    let started = |hook: &str| {
        let began = Instant::now();
        let (daemon, _) = site.start_with(&["--iface", "cni0", "--hook", hook]);
        let took = began.elapsed().as_secs_f64() * 1e3;
        assert_eq!(daemon.stop().code, Some(0));
        took
    };
    for hook in ["tcx", "clsact"] {
        let (mut first, mut again) = (Vec::new(), Vec::new());
        for _ in 0..5 {
            let cleaned = flowmon(site.lab.node(), &["cleanup"]);
            assert_eq!(cleaned.code, Some(0), "{}", cleaned.stderr);
            first.push(started(hook));
            again.push(started(hook));
        }
        let measure = format!("from start to attached to 100 veths by {hook}");
        print(&measure, "ms", &first, "≤ 300");
        print(
            "the same, going on with what is attached",
            "ms",
            &again,
            "≤ 300",
        );
    }
}
