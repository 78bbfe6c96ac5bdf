//! The witness: what XDP counts beside the flow programs, and what it finds odd.
#![expect(
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod counts;
mod differences;
mod frames;
mod modes;
mod oddities;
mod prog_run;
mod scans;

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};

use flowmon::lab::traffic::{ping, udp_exchange};
use flowmon::lab::{Lab, Namespace, Pod};
use netns_tests::{Ended, Said, Watch, tool};
use serde_json::Value;

type TestResult = Result<(), Box<dyn Error>>;

/// Two pods that know each other's hardware addresses, so that nothing is sent but what a test sends.
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
        for pod in [&a, &b] {
            pod.namespace
                .set_sysctl("net/ipv4/neigh/eth0/delay_first_probe_time", "3600")?;
        }
        let target = b.ipv4().ok_or("b has no address")?;
        assert_eq!(ping(&a.namespace, target.into(), 1, 1, 0)?, 1);
        Ok(Self { lab, a, b })
    }

    fn node(&self) -> &Namespace {
        self.lab.node()
    }

    /// Watches pod a, by the witness too.
    fn watch(&self, more: &[&str]) -> Watch {
        let args = [&["--iface", "vetha", "--xdp", "skb"], more].concat();
        Watch::start(self.node(), &args)
    }

    fn address_of_b(&self) -> Result<Ipv4Addr, &'static str> {
        self.b.ipv4().ok_or("b has no address")
    }

    /// Datagrams of 100 bytes from a to b, of which each arrives.
    fn exchange(&self, port: u16, count: u32) -> TestResult {
        let to = SocketAddr::from((self.address_of_b()?, port));
        udp_exchange(&self.a.namespace, &self.b.namespace, to, count, 100, false)?;
        Ok(())
    }

    /// Has another's filter take what comes in at one interface for port 2000 to another's ingress
    /// or egress. (Not every kernel can just drop it.)
    fn redirect(&self, from: &str, way: &str, to: &str) {
        let matching = "protocol ip u32 match ip dport 2000 0xffff";
        let action = format!("action mirred {way} redirect dev {to}");
        self.tc(&format!("qdisc add dev {from} clsact"));
        self.tc(&format!(
            "filter add dev {from} ingress pref 1 {matching} {action}"
        ));
    }

    fn tc(&self, words: &str) -> String {
        let words: Vec<&str> = words.split(' ').collect();
        tool(self.node(), "tc", &words)
    }
}

/// As many datagrams from one to the other, that may get lost.
fn send(from: &Pod, to: &Pod, port: u16, count: usize) -> TestResult {
    let to = (to.ipv4().ok_or("it has no address")?, port);
    from.namespace.run(|| -> std::io::Result<()> {
        let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
        (0..count).try_for_each(|_| socket.send_to(&[b'.'; 100], to).map(drop))
    })??;
    Ok(())
}

/// One of those datagrams, with its headers.
const DATAGRAM: u64 = 14 + 20 + 8 + 100;

/// Ends a watch that had nothing to complain about.
fn end(watch: Watch) -> Said {
    let ended = watch.stop();
    assert_quiet(&ended);
    ended.said
}

fn assert_quiet(ended: &Ended) {
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(!ended.stderr.contains("WARN"), "{}", ended.stderr);
}

/// A part of the summary.
fn part<'a>(said: &'a Said, pointer: &str) -> &'a Value {
    said.summary
        .pointer(pointer)
        .unwrap_or_else(|| panic!("no {pointer} in {}", said.summary))
}

fn number(said: &Said, pointer: &str) -> u64 {
    let part = part(said, pointer);
    part.as_u64()
        .unwrap_or_else(|| panic!("{pointer} is {part}"))
}
