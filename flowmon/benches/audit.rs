//! What `flowmon audit` costs, JSON and all: `cargo bench -p flowmon --bench audit`. The records come through
//! a pipe, from this process; time and memory are the command's own.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench is a program for people, and may fail by panicking"
)]

use std::{
    fmt::Write as _,
    io::Write as _,
    process::{Command, Stdio},
};

use nix::sys::resource::{Usage, UsageWho, getrusage};

/// A record of a flow that was there a while: with round trips it has 640 bytes or so.
fn record(out: &mut Vec<u8>, flow: u32, event: &str, port: u16) {
    let pod = |number: u32| format!("10.1.{}.{}", number % 16, number / 16 % 250 + 1);
    let (endpoint, peer) = (flow % 4000, flow.wrapping_mul(7) % 4000);
    let packets = if event == "new" { 1 } else { 40 };
    writeln!(
        out,
        "{{\"schema\":\"flowmon.flow.v1\",\"time\":\"2026-11-22T10:00:00.{flow:09}Z\",\"event\":\"{event}\",\
         \"node\":\"host-1\",\"endpoint\":{{\"interface\":\"veth{endpoint:08x}\",\"ifindex\":{endpoint},\
         \"kind\":\"unknown\"}},\"direction\":\"egress\",\"protocol\":\"tcp\",\
         \"local\":{{\"ip\":\"{}\",\"port\":{}}},\"remote\":{{\"ip\":\"{}\",\"port\":{port}}},\
         \"first_seen\":\"2026-11-22T09:59:00.{flow:09}Z\",\"last_seen\":\"2026-11-22T10:00:00.{flow:09}Z\",\
         \"tx\":{{\"packets\":{packets},\"bytes\":5400,\"retransmits\":0}},\
         \"rx\":{{\"packets\":{packets},\"bytes\":61000,\"retransmits\":0}},\"tcp\":{{\"state\":\"established\"}},\
         \"rtt\":{{\"network\":{{\"handshake_us\":31.2,\"min_us\":12.1,\"avg_us\":22.4,\"max_us\":99.9,\
         \"samples\":12}},\"container\":{{\"min_us\":12.1,\"avg_us\":22.4,\"max_us\":99.9,\"samples\":12}}}}}}",
        pod(endpoint),
        30_000 + flow % 30_000,
        pod(peer),
    )
    .unwrap();
}

/// A pod for each address, half of them isolated.
fn inventory() -> String {
    let mut text = String::from("{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":[");
    for number in 0..4000 {
        let app = if number % 2 == 0 { "cart" } else { "web" };
        let address = format!("10.1.{}.{}", number % 16, number / 16 % 250 + 1);
        write!(
            text,
            "{{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{{\"namespace\":\"shop\",\"name\":\"pod-{number}\",\
             \"labels\":{{\"app\":\"{app}\"}}}},\"spec\":{{\"containers\":[]}},\"status\":{{\"phase\":\"Running\",\
             \"podIP\":\"{address}\"}}}},"
        )
        .unwrap();
    }
    text + "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"shop\"}}]}"
}

const POLICY: &str = "{\"apiVersion\":\"networking.k8s.io/v1\",\"kind\":\"NetworkPolicy\",\
     \"metadata\":{\"name\":\"cart\",\"namespace\":\"shop\"},\"spec\":{\"podSelector\":{\"matchLabels\":{\"app\":\"cart\"}},\
     \"policyTypes\":[\"Egress\"],\"egress\":[{\"ports\":[{\"port\":443},{\"port\":80},{\"port\":6379}]}]}}";

fn seconds(usage: &Usage) -> f64 {
    let time = usage.user_time() + usage.system_time();
    time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6
}

fn main() {
    let folder = std::env::temp_dir().join(format!("flowmon-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let [policies, pods] = ["policy.json", "pods.json"].map(|name| folder.join(name));
    std::fs::write(&policies, POLICY).unwrap();
    std::fs::write(&pods, inventory()).unwrap();
    println!(
        "{:<44}{:>10}{:>8}{:>12}{:>9}",
        "records", "count", "MB", "records/s", "peak MB"
    );
    let (all, none) = ([443, 80, 6379], [5432]);
    for (what, events, ports, flows, output) in [
        (
            "allowed, three of each flow",
            &["new", "update", "end"][..],
            &all[..],
            500_000,
            "table",
        ),
        (
            "half of them denied",
            &["new", "update", "end"],
            &none,
            500_000,
            "table",
        ),
        ("flows that do not end", &["new"], &all, 1_600_000, "table"),
        (
            "allowed, all of them written again",
            &["new", "update", "end"],
            &all,
            500_000,
            "json",
        ),
    ] {
        let before = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_flowmon"))
            .args([
                "audit",
                "--flows",
                "-",
                "--fail-on",
                "never",
                "--output",
                output,
            ])
            .arg("--policies")
            .arg(&policies)
            .arg("--inventory")
            .arg(&pods)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        let (mut count, mut bytes, mut portion) = (0_u64, 0, Vec::new());
        for (flow, port) in (0..flows).zip(ports.iter().cycle()) {
            for event in events {
                record(&mut portion, flow, event, *port);
                count += 1;
            }
            if portion.len() > 1 << 20 || flow + 1 == flows {
                input.write_all(&portion).unwrap();
                bytes += portion.len();
                portion.clear();
            }
        }
        drop(input);
        assert!(child.wait().unwrap().success());
        let after = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
        let rate = count as f64 / (seconds(&after) - seconds(&before));
        println!(
            "{what:<44}{count:>10}{:>8}{rate:>12.0}{:>9}",
            bytes >> 20,
            after.max_rss() >> 10 // of the largest so far
        );
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
