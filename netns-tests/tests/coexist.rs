//! Watching beside others' programs: each sees what it would see alone.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::error::Error;
use std::net::SocketAddr;

use flowmon::lab::{self, Lab, Namespace, Pod, traffic};
use flowmon::model::InterfaceCounters;
use flowmon::netlink::{self, Configure, Veth};
use flowmon_common::{Totals, Traffic};
use netns_tests::{Said, Watch, counted, require_root, tool};
use serde_json::{Value, json};

type TestResult = Result<(), Box<dyn Error>>;

/// Ethernet, IPv4 and UDP headers.
const UDP4: u64 = 14 + 20 + 8;

struct Network {
    lab: Lab,
    a: Pod,
    b: Pod,
}

impl Network {
    fn new() -> Result<Self, Box<dyn Error>> {
        // IPv4 only: nobody speaks unasked.
        let lab = Lab::with_gateways("cni0", &["10.77.0.1/16".parse()?])?;
        let a = lab.add_pod_at("a", "vetha", &lab.host(2))?;
        let b = lab.add_pod_at("b", "vethb", &lab.host(3))?;
        Ok(Self { lab, a, b })
    }

    fn node(&self) -> &Namespace {
        self.lab.node()
    }

    /// This port of pod b.
    fn b(&self, port: u16) -> Result<SocketAddr, &'static str> {
        let address = self.b.ipv4().ok_or("b has no IPv4 address")?;
        Ok((address, port).into())
    }

    /// Datagrams from a to b and back.
    fn exchange(&self, port: u16, count: u32) -> TestResult {
        let (a, b) = (&self.a.namespace, &self.b.namespace);
        traffic::udp_exchange(a, b, self.b(port)?, count, 100, true)?;
        Ok(())
    }

    /// Datagrams from a to b that may get lost.
    fn send(&self, port: u16, count: usize) -> TestResult {
        let to = self.b(port)?;
        self.a.namespace.run(|| -> std::io::Result<()> {
            let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
            (0..count).try_for_each(|_| socket.send_to(&[b'.'; 100], to).map(drop))
        })??;
        Ok(())
    }

    /// Makes an interface for others to send packets to, which counts them.
    fn add_sink(&self) -> Result<(), lab::Error> {
        self.node().block_on(async || -> Result<(), lab::Error> {
            let configure = Configure::open()?;
            let veth = Veth {
                name: "sink0",
                ifindex: None,
                peer: "sink1",
                peer_netns: None,
            };
            let near = configure.create_veth(&veth).await?;
            configure.set_up(near).await?;
            let far = configure.ifindex_of("sink1").await?;
            Ok(configure.set_up(far).await?)
        })?
    }

    fn counters(&self, interface: &str) -> Result<InterfaceCounters, Box<dyn Error>> {
        let interfaces = self.node().block_on(netlink::list)??;
        let found = interfaces.iter().find(|one| one.name == interface);
        Ok(found.ok_or("no such interface")?.counters)
    }

    fn tc(&self, words: &str) -> String {
        let words: Vec<&str> = words.split(' ').collect();
        tool(self.node(), "tc", &words)
    }

    /// Has another's filter take what a sends away to the sink.
    fn add_redirect(&self, preference: u16) {
        self.tc(&format!(
            "filter add dev vetha ingress pref {preference} protocol ip u32 match u32 0 0 \
             action mirred egress redirect dev sink0"
        ));
    }
}

/// UDP over IPv4, both ways.
fn datagrams(sent: u64, received: u64) -> Totals {
    let traffic = |packets| Traffic {
        packets,
        bytes: packets * (UDP4 + 100),
    };
    Totals {
        tx: traffic(sent),
        rx: traffic(received),
    }
}

/// What was counted, by endpoint and addresses.
fn counts(said: &Said) -> BTreeMap<String, Totals> {
    let name = |flow: &Value| {
        let parts = ["/endpoint", "/protocol", "/local", "/remote"];
        parts
            .map(|part| flow.pointer(part).unwrap_or(&Value::Null).to_string())
            .join(" ")
    };
    said.flows()
        .into_iter()
        .map(|flow| (name(flow), counted(flow)))
        .collect()
}

#[test]
fn two_watchers_count_the_same() -> TestResult {
    if !require_root("two_watchers_count_the_same") {
        return Ok(());
    }
    let network = Network::new()?;
    let args = ["--iface", "cni0", "--interval", "100ms"];
    let mut watchers = [
        Watch::start(network.node(), &args),
        Watch::start(network.node(), &args),
    ];
    let (a, b) = (&network.a.namespace, &network.b.namespace);
    network.exchange(53, 20)?;
    traffic::tcp_transfer(a, b, network.b(80)?, 3_000_000, 1_000_000)?;
    for watcher in &mut watchers {
        let closed = Cell::new(0);
        watcher.wait_for_record(|record| {
            let state = record.pointer("/tcp/state");
            closed.set(closed.get() + u32::from(state == Some(&json!("closed"))));
            closed.get() == 2 // once at each end
        });
    }
    let [first, second] = watchers.map(Watch::stop);
    for ended in [&first, &second] {
        ended.assert_clean();
        let dns = json!({"endpoint": {"interface": "vetha"}, "remote": {"port": 53}});
        assert_eq!(counted(ended.said.one(&dns)), datagrams(20, 20));
    }
    assert_eq!(counts(&first.said), counts(&second.said));
    assert_eq!(first.said.sum("totals"), second.said.sum("totals"));
    Ok(())
}

#[test]
fn a_filter_behind_ours_has_the_last_word() -> TestResult {
    if !require_root("a_filter_behind_ours_has_the_last_word") {
        return Ok(());
    }
    for hook in ["tcx", "clsact"] {
        let network = Network::new()?;
        network.add_sink()?;
        network.exchange(1000, 1)?; // from here on each knows where the other is
        network.tc("qdisc add dev vetha clsact");
        network.add_redirect(10);
        let filters = network.tc("filter show dev vetha ingress");
        let qdiscs = network.tc("qdisc show");

        let watch = Watch::start(network.node(), &["--iface", "vetha,vethb", "--hook", hook]);
        network.send(2000, 5)?;
        let ended = watch.stop();

        let sent = json!({"endpoint": {"interface": "vetha"}, "remote": {"port": 2000}});
        assert_eq!(counted(ended.said.one(&sent)), datagrams(5, 0), "{hook}");
        assert_eq!(
            network.counters("sink0")?.tx_packets,
            5,
            "{hook}: not redirected"
        );
        let arrived = json!({"endpoint": {"interface": "vethb"}, "local": {"port": 2000}});
        assert!(ended.said.matching(&arrived).is_empty(), "{hook}");
        ended.assert_clean();

        assert_eq!(
            network.tc("filter show dev vetha ingress"),
            filters,
            "{hook}"
        );
        assert_eq!(network.tc("filter show dev vetha egress"), "", "{hook}");
        assert_eq!(network.tc("qdisc show"), qdiscs, "{hook}");
        assert_eq!(network.tc("filter show dev vethb ingress"), "");
        network.send(2000, 5)?;
        assert_eq!(
            network.counters("sink0")?.tx_packets,
            10,
            "{hook}: no longer redirected"
        );
    }
    Ok(())
}

#[test]
fn a_classifier_of_another_kind_keeps_the_first_place() -> TestResult {
    if !require_root("a_classifier_of_another_kind_keeps_the_first_place") {
        return Ok(());
    }
    let network = Network::new()?;
    network.tc("qdisc add dev vetha clsact");
    network.tc("filter add dev vetha ingress pref 1 protocol ipv6 u32 match u32 0 0 flowid 1:1");
    let filters = network.tc("filter show dev vetha ingress");
    let watch = Watch::start(network.node(), &["--iface", "vetha", "--hook", "clsact"]);
    network.exchange(1000, 3)?;
    let ended = watch.stop();
    ended.assert_clean();
    let flow = ended.said.one(&json!({"remote": {"port": 1000}}));
    assert_eq!(counted(flow), datagrams(3, 3));
    assert_eq!(network.tc("filter show dev vetha ingress"), filters);
    Ok(())
}
