//! Every packet and every byte that crosses a watched interface is counted, as it is on the wire.
//!
//! What it is compared with: numbers worked out by hand from what was sent, the counters of the
//! sender's TCP, the kernel's interface counters, tcpdump, and the other end of the wire.

mod against_capture;
mod datagrams;
mod extensions;
mod other_messages;
mod tcp;
mod two_cpus;

use std::collections::BTreeMap;
use std::error::Error;
use std::net::{IpAddr, SocketAddr};

use flowmon::lab::{Lab, Pod};
use flowmon_common::{Totals, Traffic};
use netns_tests::{Said, Watch, counted};
use serde_json::{Value, json};

type TestResult = Result<(), Box<dyn Error>>;

/// Two pods on a bridge.
struct Pair {
    lab: Lab,
    a: Pod,
    b: Pod,
}

impl Pair {
    /// With an IPv4 and an IPv6 address each.
    fn new() -> Result<Self, Box<dyn Error>> {
        Self::of(Lab::new("cni0")?)
    }

    /// With an IPv4 address each, and nothing on the wire but what a test sends and the ARP for
    /// it: neighbours, once known, are not asked again whether they are still there.
    fn silent() -> Result<Self, Box<dyn Error>> {
        let pair = Self::of(Lab::with_gateways("cni0", &["10.77.0.1/24".parse()?])?)?;
        for pod in [&pair.a, &pair.b] {
            pod.namespace
                .set_sysctl("net/ipv4/neigh/eth0/delay_first_probe_time", "3600")?;
        }
        Ok(pair)
    }

    fn of(lab: Lab) -> Result<Self, Box<dyn Error>> {
        Ok(Self {
            a: lab.add_pod("a", &lab.host(2))?,
            b: lab.add_pod("b", &lab.host(3))?,
            lab,
        })
    }

    /// Watches both pods.
    fn watch(&self) -> Watch {
        Watch::start(self.lab.node(), &["--iface", self.lab.bridge()])
    }

    /// Ends the watch: nothing may be missing, and both ends of the wire must have seen the same.
    fn end(&self, watch: Watch) -> Said {
        let said = end(watch);
        let flows = said.flows();
        assert_eq!(
            self.between(&flows, &self.a, &self.b),
            self.between(&flows, &self.b, &self.a),
            "both ends of the wire, seen from a"
        );
        said
    }

    /// The flows between the pods as seen at one of them, counted from the point of view of a.
    fn between(&self, flows: &[&Value], here: &Pod, there: &Pod) -> BTreeMap<String, Totals> {
        let is_between = |flow: &Value| {
            flow.pointer("/endpoint/ifindex") == Some(&json!(here.ifindex))
                && has_address(here, flow, "/local/ip")
                && has_address(there, flow, "/remote/ip")
        };
        let mut totals: BTreeMap<String, Totals> = BTreeMap::new();
        for flow in flows.iter().filter(|flow| is_between(flow)) {
            let seen = counted(flow);
            let (from, to, seen) = if here.ifindex == self.a.ifindex {
                ("/local", "/remote", seen)
            } else {
                ("/remote", "/local", swapped(seen))
            };
            let part = |pointer: &str| flow.pointer(pointer).unwrap_or(&Value::Null);
            let (protocol, icmp) = (part("/protocol"), part("/icmp"));
            let end =
                |side: &str| json!([part(&format!("{side}/ip")), part(&format!("{side}/port"))]);
            let name = format!("{protocol} {} {} {icmp}", end(from), end(to));
            *totals.entry(name).or_default() += seen;
        }
        totals
    }
}

/// Ends a watch, of which nothing may be missing.
fn end(watch: Watch) -> Said {
    let ended = watch.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended.said.assert_complete();
    ended.said
}

/// What a pod's only flow between these two addresses counted.
fn flow_at(said: &Said, pod: &Pod, protocol: &str, local: SocketAddr, remote: SocketAddr) -> Value {
    let side = |address: SocketAddr| json!({"ip": address.ip(), "port": address.port()});
    let pattern = json!({
        "endpoint": {"ifindex": pod.ifindex},
        "protocol": protocol,
        "local": side(local),
        "remote": side(remote),
    });
    said.one(&pattern).clone()
}

/// All that was counted at a pod.
fn seen_at(said: &Said, pod: &Pod) -> Totals {
    let mut seen = Totals::default();
    for flow in said.matching(&json!({"endpoint": {"ifindex": pod.ifindex}})) {
        seen += counted(flow);
    }
    seen
}

fn has_address(pod: &Pod, flow: &Value, pointer: &str) -> bool {
    let address = flow.pointer(pointer).and_then(Value::as_str);
    let is_it = |text: &str| pod.addresses.iter().any(|own| own.ip().to_string() == text);
    address.is_some_and(is_it)
}

/// As seen from the other end.
fn swapped(totals: Totals) -> Totals {
    Totals {
        tx: totals.rx,
        rx: totals.tx,
    }
}

/// What was added since `before`.
fn since(before: Totals, now: Totals) -> Totals {
    let difference = |before: Traffic, now: Traffic| Traffic {
        packets: now.packets - before.packets,
        bytes: now.bytes - before.bytes,
    };
    Totals {
        tx: difference(before.tx, now.tx),
        rx: difference(before.rx, now.rx),
    }
}

/// That many packets of the same length.
fn packets(packets: u64, length: u64) -> Traffic {
    Traffic {
        packets,
        bytes: packets * length,
    }
}

/// Bytes of Ethernet and IP headers.
fn ip_headers(address: IpAddr) -> u64 {
    14 + if address.is_ipv4() { 20 } else { 40 }
}

/// Bytes of headers up to a UDP datagram's or an ICMP echo's payload.
fn datagram_headers(address: IpAddr) -> u64 {
    ip_headers(address) + 8
}
