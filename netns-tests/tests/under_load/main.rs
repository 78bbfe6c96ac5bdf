//! What is counted stays exact while interfaces change under the traffic that crosses them.

mod interfaces;
mod offloads;

use std::error::Error;
use std::net::SocketAddr;

use flowmon::lab::traffic::Exchange;
use flowmon::lab::{Lab, Namespace, Pod};
use flowmon::netlink::{self, Configure};
use flowmon_common::{Totals, Traffic};
use netns_tests::{Ended, Load, Said, TcpCounters, Watch, counted, tool};
use serde_json::json;

type TestResult = Result<(), Box<dyn Error>>;

/// Headers of Ethernet, IPv4, and TCP with the timestamp option.
const HEADERS: u64 = 14 + 20 + 32;

/// So much arrives between two changes.
const STRETCH: u64 = 8_000_000;

/// How interfaces may be watched.
const WAYS: [&[&str]; 3] = [&[], &["--hook", "clsact"], &["--xdp", "skb"]];

/// Two pods on a bridge, IPv4 only: nobody speaks unasked.
struct Pair {
    lab: Lab,
    a: Pod,
    b: Pod,
    options: &'static [&'static str],
}

impl Pair {
    fn new() -> Result<Self, Box<dyn Error>> {
        Self::with_options(&[])
    }

    /// To be watched with these options.
    fn with_options(options: &'static [&'static str]) -> Result<Self, Box<dyn Error>> {
        let lab = Lab::with_gateways("cni0", &["10.77.0.1/24".parse()?])?;
        let a = lab.add_pod_at("a", "vetha", &lab.host(2))?;
        let b = lab.add_pod_at("b", "vethb", &lab.host(3))?;
        for pod in [&a, &b] {
            // Neighbours, once known, are not asked again whether they are still there.
            pod.namespace
                .set_sysctl("net/ipv4/neigh/eth0/delay_first_probe_time", "3600")?;
        }
        Ok(Self { lab, a, b, options })
    }

    fn watch(&self) -> Watch {
        let args = [&["--iface", "cni0"], self.options].concat();
        Watch::start(self.lab.node(), &args)
    }

    /// Any port of b.
    fn server(&self) -> Result<SocketAddr, Box<dyn Error>> {
        let address = self.b.addresses.first().ok_or("it has none")?;
        Ok((address.ip(), 0).into())
    }

    /// A transfer from a to b that has begun in earnest.
    fn load(&self) -> Result<Load, Box<dyn Error>> {
        let load = Load::start(&self.a.namespace, &self.b.namespace, self.server()?);
        load.wait_for(1_000_000);
        Ok(load)
    }

    /// Switches features of all veths.
    fn switch(&self, features: &[&str], state: &str) {
        for (namespace, interface) in self.ends() {
            let mut args = vec!["-K", interface];
            args.extend(features.iter().flat_map(|feature| [feature, state]));
            tool(namespace, "ethtool", &args);
        }
    }

    /// Every veth: its namespace and its name there.
    fn ends(&self) -> [(&Namespace, &str); 4] {
        [
            (&self.a.namespace, "eth0"),
            (self.lab.node(), &self.a.interface),
            (self.lab.node(), &self.b.interface),
            (&self.b.namespace, "eth0"),
        ]
    }
}

/// A transfer that was watched, and what was counted of it from the client's point of view.
#[derive(Debug)]
struct Seen {
    exchange: Exchange,
    /// At the port of a, the client, and at that of b.
    at_a: Totals,
    at_b: Totals,
    /// By the TCP of a, and by that of b.
    sent: TcpCounters,
    answered: TcpCounters,
}

impl Seen {
    /// Runs a transfer under which something changes, and holds what was counted of it against
    /// what the senders say.
    fn while_it_runs(
        pair: &Pair,
        start: impl FnOnce(&Pair) -> Result<Load, Box<dyn Error>>,
        change: impl FnOnce(&Load) -> TestResult,
    ) -> Result<Self, Box<dyn Error>> {
        let pods = [&pair.a, &pair.b];
        let before = pods.map(|pod| TcpCounters::of(&pod.namespace));
        let watch = pair.watch();
        let load = start(pair)?;
        change(&load)?;
        let exchange = load.end();
        let ended = watch.stop();
        assert_clean(&ended);
        let (at_a, at_b) = seen_of(&ended.said, pair, &exchange);
        let seen = Self {
            at_a,
            at_b,
            exchange,
            sent: TcpCounters::of(&pair.a.namespace).since(&before[0]),
            answered: TcpCounters::of(&pair.b.namespace).since(&before[1]),
        };
        assert_eq!(
            (seen.at_a.tx.packets, seen.at_b.rx.packets),
            (seen.sent.segments, seen.answered.segments),
            "the segments that TCP says it sent: {seen:?}"
        );
        assert_eq!(seen.at_a.rx, seen.at_b.rx, "acknowledgements, at both ends");
        Ok(seen)
    }

    /// The bytes of the packets are those of the transfer, of headers this long, and of no more
    /// than was sent again.
    fn assert_carries(&self, headers: u64) {
        const LARGEST: u64 = 9000 - 20 - 32;
        let payload = payload(self.at_a.tx, headers);
        let most = self.exchange.sent + self.sent.retransmitted * LARGEST;
        assert!(
            (self.exchange.sent..=most).contains(&payload),
            "{payload} bytes of payload in {self:?}"
        );
    }
}

/// How much of that the client's packets carry, when their headers are that long.
const fn payload(sent: Traffic, headers: u64) -> u64 {
    const SYN_OPTIONS: u64 = 8;
    sent.bytes - SYN_OPTIONS - headers * sent.packets
}

/// Nothing is missing, and a witness, if there was one, agrees.
fn assert_clean(ended: &Ended) {
    ended.assert_clean();
    let findings = ended.said.summary.pointer("/findings");
    assert!(
        findings.is_none_or(|findings| findings == &json!([])),
        "{}",
        ended.said.summary
    );
}

/// What was counted of a transfer at a and at b, from the client's point of view.
fn seen_of(said: &Said, pair: &Pair, exchange: &Exchange) -> (Totals, Totals) {
    let side = |address: SocketAddr| json!({"ip": address.ip(), "port": address.port()});
    let flow = |pod: &Pod, local, remote| {
        counted(said.one(&json!({
            "endpoint": {"ifindex": pod.ifindex},
            "protocol": "tcp",
            "local": side(local),
            "remote": side(remote),
        })))
    };
    let at_b = flow(&pair.b, exchange.server, exchange.client);
    let swapped = Totals {
        tx: at_b.rx,
        rx: at_b.tx,
    };
    (flow(&pair.a, exchange.client, exchange.server), swapped)
}

/// Changes the interfaces of a namespace.
fn configure(
    namespace: &Namespace,
    change: impl AsyncFnOnce(&Configure) -> Result<(), netlink::Error> + Send,
) -> TestResult {
    Ok(namespace.block_on(async || change(&Configure::open()?).await)??)
}

/// That many packets of the same length.
const fn packets(packets: u64, length: u64) -> Traffic {
    Traffic {
        packets,
        bytes: packets * length,
    }
}
