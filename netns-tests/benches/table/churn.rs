//! A burst of new flows as fast as they can be sent, two packets each: is every one reported, and at
//! what cost? The flows, packets and bytes are known beforehand.

use std::{
    collections::HashMap,
    fs::File,
    io::{BufRead as _, BufReader},
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use flowmon::lab::{Lab, Pod};
use netns_tests::flowmon_binary;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use crate::{may, row::Row};

const PACKETS_EACH: u64 = 2;
const PAYLOAD: usize = 18;
const FRAME: u64 = 14 + 20 + 8 + PAYLOAD as u64;
/// Flows to one multicast group: multicast needs no neighbour and nobody answers it.
const PORTS: u32 = 50_000;

const ROUNDS: usize = 3;

/// What became of a burst.
struct Burst {
    packets_per_second: f64,
    /// Flows that were reported with all their packets, in percent.
    whole: f64,
    cpu_microseconds: f64,
    peak_megabytes: f64,
}

pub(crate) fn bursts() {
    for (flows, name) in [(50_000, "50,000"), (200_000, "200,000")] {
        let bursts: Vec<Burst> = (0..ROUNDS).map(|_| burst(flows)).collect();
        let print = |what: &str, unit, goal, of: fn(&Burst) -> f64| {
            let ours: Vec<f64> = bursts.iter().map(of).collect();
            Row {
                measure: &format!("{name} new flows of two packets, {what}"),
                unit,
                floor: &[],
                ours: &ours,
                goal,
            }
            .print();
        };
        print("sent", "packets/s", "≥ 150,000", |burst| {
            burst.packets_per_second
        });
        print("reported whole", "%", "100", |burst| burst.whole);
        print("processor time", "µs a flow", "≤ 3", |burst| {
            burst.cpu_microseconds
        });
        print("peak memory", "MB", "≤ 96", |burst| burst.peak_megabytes);
    }
}

fn burst(flows: u32) -> Burst {
    let lab = may(Lab::with_gateways("cni0", &[may("10.77.0.1/24".parse())]));
    let pod = may(lab.add_pod("a", &lab.host(2)));
    let path = std::env::temp_dir().join(format!("flowmon-churn-{}.json", std::process::id()));
    let mut flowmon = watch(&lab, &pod, &path);
    let pid = may(i32::try_from(flowmon.id()));
    // What start-up costs is another question.
    let before = cpu_seconds(pid);
    let seconds = may(pod.namespace.run(|| send(flows))).as_secs_f64();
    settled(&path);
    let cpu = cpu_seconds(pid) - before;
    let peak_megabytes = peak_megabytes(pid);
    may(kill(Pid::from_raw(pid), Signal::SIGTERM));
    may(flowmon.wait());
    let (whole, summary) = read(&path);
    may(std::fs::remove_file(&path));
    let number = |pointer| summary.pointer(pointer).and_then(Value::as_u64);
    let truth = u64::from(flows) * PACKETS_EACH;
    assert_eq!(
        number("/totals/tx_packets"),
        Some(truth),
        "the totals are the truth: {summary}"
    );
    assert_eq!(number("/totals/tx_bytes"), Some(truth * FRAME), "{summary}");
    Burst {
        packets_per_second: truth as f64 / seconds,
        whole: whole as f64 * 100.0 / f64::from(flows),
        cpu_microseconds: cpu * 1e6 / f64::from(flows),
        peak_megabytes,
    }
}

fn watch(lab: &Lab, pod: &Pod, path: &std::path::Path) -> Child {
    let mut command = Command::new(flowmon_binary());
    command
        .args(["watch", "--output", "json", "--iface", &pod.interface])
        .stdout(may(File::create(path)))
        .stderr(Stdio::piped());
    let mut child = may(lab.node().spawn_command(&mut command));
    let stderr = child.stderr.take().unwrap_or_else(|| panic!("it is piped"));
    let ready = BufReader::new(stderr)
        .lines()
        .map_while(Result::ok)
        .any(|line| line.contains("watching"));
    assert!(ready, "flowmon does not watch");
    child
}

fn send(flows: u32) -> Duration {
    let socket = may(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 9999)));
    let began = Instant::now();
    for flow in 0..flows {
        let group = Ipv4Addr::new(239, 1, 1, u8::try_from(flow / PORTS).unwrap_or(u8::MAX));
        let port = u16::try_from(1024 + flow % PORTS).unwrap_or(u16::MAX);
        for _ in 0..PACKETS_EACH {
            may(socket.send_to(&[0; PAYLOAD], SocketAddrV4::new(group, port)));
        }
    }
    began.elapsed()
}

/// Waits until the file has not grown for a while: flowmon has said all it has to say by itself.
fn settled(path: &std::path::Path) {
    let mut size = u64::MAX;
    loop {
        let (timer, never) = std::sync::mpsc::channel::<()>();
        let _timeout = never.recv_timeout(Duration::from_millis(1200));
        drop(timer);
        let now = may(std::fs::metadata(path)).len();
        if now == size {
            return;
        }
        size = now;
    }
}

/// Flows reported with all their packets, and the summary.
fn read(path: &std::path::Path) -> (usize, Value) {
    let mut flows: HashMap<String, u64> = HashMap::new();
    let mut summary = Value::Null;
    for line in BufReader::new(may(File::open(path))).lines() {
        let record: Value = may(serde_json::from_str(&may(line)));
        let Some(remote) = record.pointer("/remote") else {
            summary = record;
            continue;
        };
        let packets = record
            .pointer("/tx/packets")
            .and_then(Value::as_u64)
            .unwrap_or(0);
        flows.insert(
            format!(
                "{remote}{}",
                record.pointer("/first_seen").unwrap_or(&Value::Null)
            ),
            packets,
        );
    }
    let whole = flows
        .values()
        .filter(|packets| **packets == PACKETS_EACH)
        .count();
    (whole, summary)
}

/// User and system time so far (`proc_pid_stat(5)`).
fn cpu_seconds(pid: i32) -> f64 {
    let stat = may(std::fs::read_to_string(format!("/proc/{pid}/stat")));
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    ticks as f64 / 100.0
}

fn peak_megabytes(pid: i32) -> f64 {
    let status = may(std::fs::read_to_string(format!("/proc/{pid}/status")));
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap_or_default();
    line.split_whitespace()
        .next()
        .and_then(|number| number.parse::<f64>().ok())
        .unwrap_or(0.0)
        / 1024.0
}
