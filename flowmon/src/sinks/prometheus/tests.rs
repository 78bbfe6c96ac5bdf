//! What is scraped as time goes by; the moments are the tests' own.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::{collections::BTreeMap, sync::Arc};

use flowmon_common::{FlowKey, FlowStats, latency::Latencies};
use jiff::Timestamp;

use super::{flows::LINGER_NS, *};
use crate::{
    model::{Endpoint, EndpointKind, Flow, Identity, Report},
    sinks::Watched,
};

const SECOND: u64 = 1_000_000_000;

/// Endpoints that send, are watched, and leave.
struct Node {
    sink: Prometheus,
    exposition: Exposition,
    crossed: BTreeMap<u32, (Endpoint, Totals)>,
    flows: u16,
    /// Samples that were scraped last.
    scraped: BTreeMap<String, f64>,
}

impl Node {
    fn new() -> Self {
        let (sink, exposition) = Prometheus::new(1000, false);
        Self {
            sink,
            exposition,
            crossed: BTreeMap::new(),
            flows: 0,
            scraped: BTreeMap::new(),
        }
    }

    fn comes(&mut self, ifindex: u32, name: &str) {
        let identity = Identity {
            namespace: Some("shop".into()),
            name: Some(name.into()),
            ..Identity::nameless(EndpointKind::Pod)
        };
        let endpoint = Endpoint {
            interface: format!("veth-{name}"),
            ifindex,
            identity: Arc::new(identity),
        };
        self.crossed.insert(ifindex, (endpoint, Totals::default()));
    }

    /// Another flow, of a packet of so many bytes, whose round trip took a microsecond.
    fn sends(&mut self, ifindex: u32, bytes: u64, now_ns: u64) {
        let (endpoint, totals) = self.crossed.get_mut(&ifindex).unwrap();
        let growth = Totals {
            tx: Traffic { packets: 1, bytes },
            ..Totals::default()
        };
        *totals += growth;
        self.flows += 1;
        let mut stats = FlowStats::default();
        stats.tx.traffic = growth.tx;
        stats.tx.rtt_sum = 1000;
        let flow = Flow {
            key: FlowKey {
                ifindex,
                local_port: self.flows,
                ..FlowKey::default()
            },
            stats,
            last_ns: now_ns,
        };
        self.sink.flow(&Told {
            report: &Report {
                event: FlowEvent::New,
                flow: &flow,
                before: None,
                growth,
            },
            endpoint,
            remote: None,
            verdict: None,
            now: &moment(now_ns),
        });
    }

    /// An interval ends, in which this one left. What does not name `gone` must not have become less.
    fn interval(&mut self, left: Option<u32>, now_ns: u64, gone: &str) {
        let watched = self.crossed.values().map(|(endpoint, totals)| {
            let mut latencies = Latencies::default();
            latencies.rtt[0][5] = totals.tx.packets;
            Watched {
                endpoint: endpoint.clone(),
                totals: *totals,
                latencies,
                coverage: Some(1.0),
                has_parted: left == Some(endpoint.ifindex),
            }
        });
        let overview = Overview {
            watched: watched.collect(),
            ..Overview::default()
        };
        self.sink.interval(&overview, &moment(now_ns));
        if let Some(left) = left {
            self.crossed.remove(&left);
        }
        let text = self.exposition.text();
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let samples = samples.map(|line| line.rsplit_once(' ').unwrap());
        let scraped: BTreeMap<String, f64> = samples
            .map(|(series, value)| (series.to_owned(), value.parse().unwrap()))
            .collect();
        for (series, before) in &self.scraped {
            let after = scraped.get(series);
            assert!(
                after >= Some(before) || after.is_none() && series.contains(gone),
                "{series} was {before}, is {after:?}"
            );
        }
        self.scraped = scraped;
    }

    fn naming(&self, name: &str) -> BTreeMap<&str, f64> {
        let all = self.scraped.iter();
        all.filter(|(series, _)| series.contains(name))
            .map(|(series, value)| (series.as_str(), *value))
            .collect()
    }
}

fn moment(monotonic_ns: u64) -> Moment {
    Moment {
        monotonic_ns,
        wall: Timestamp::UNIX_EPOCH,
    }
}

#[test]
fn series_of_who_is_gone_go_after_five_minutes_and_no_others_become_less() {
    const BYTES: &str = "flowmon_flow_bytes_total{namespace=\"shop\",endpoint=\"cart\",\
                         direction=\"unknown\",protocol=\"llc\",way=\"tx\"}";
    let gone = 20 * SECOND;
    let mut node = Node::new();
    node.comes(1, "cart");
    node.comes(2, "web");
    for now_ns in [SECOND, 10 * SECOND] {
        node.sends(1, 100, now_ns);
        node.sends(2, 10, now_ns);
        node.interval(None, now_ns, "nobody");
    }
    node.sends(1, 100, gone);
    node.interval(Some(1), gone, "nobody");
    let last: Vec<String> = node
        .naming("cart")
        .keys()
        .map(|it| (*it).to_owned())
        .collect();
    assert_eq!(node.naming("cart").get(BYTES), Some(&300.0), "{last:#?}");
    for family in [
        "flow_packets",
        "flows",
        "interface_bytes",
        "tcp_rtt_seconds_count",
    ] {
        let name = format!("flowmon_{family}");
        assert!(last.iter().any(|it| it.starts_with(&name)), "{last:#?}");
    }
    // It is scraped for five minutes as it was left; the other one goes on.
    for now_ns in [gone + SECOND, gone + LINGER_NS - 1] {
        node.sends(2, 10, now_ns);
        node.interval(None, now_ns, "nobody");
        assert!(node.naming("cart").keys().eq(&last));
        assert_eq!(node.naming("cart").get(BYTES), Some(&300.0));
    }
    assert_eq!(LINGER_NS, 300 * SECOND);
    node.interval(None, gone + LINGER_NS, "cart");
    assert_eq!(node.naming("cart"), BTreeMap::new());
    assert!(!node.naming("web").is_empty());
    // Another one that is called so begins with what is its own.
    node.comes(3, "cart");
    node.sends(3, 7, gone + LINGER_NS);
    node.interval(None, gone + LINGER_NS + SECOND, "nobody");
    assert_eq!(node.naming("cart").get(BYTES), Some(&7.0));
}

/// Else a node where pods come and go would tell nothing by name after some time.
#[test]
fn who_is_gone_makes_room() {
    let mut node = Node::new();
    let used = node.sink.budget.clone();
    for turn in 1..20_u32 {
        let now_ns = u64::from(turn) * 2 * LINGER_NS;
        node.comes(turn, &format!("pod-{turn}"));
        node.sends(turn, 100, now_ns);
        node.interval(Some(turn), now_ns, "nobody");
        node.interval(None, now_ns + LINGER_NS, "pod-");
        assert_eq!(node.sink.budget, used);
    }
}
