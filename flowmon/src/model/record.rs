//! The flow record and the summary: JSON that users script against (`flowmon.flow.v1`,
//! `flowmon.summary.v1`). What is not known is absent.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use flowmon_common::{DirectionStats, Totals, Traffic, probe::UNIT_NS};
use jiff::Timestamp;
use serde::Serialize;

use super::{
    Amount, Audited, Bypass, Coverage, Direction, Dns, EndpointKind, Flow, FlowEvent, Icmp,
    Identity, IdentitySource, Labels, Latency, Protocol, TcpState, Verdict, Witnessed, instant,
};

/// A container's attachment: where flows were seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Endpoint {
    /// Name of the interface.
    pub interface: String,
    /// Its index.
    pub ifindex: u32,
    /// Who is behind it.
    #[serde(flatten)]
    pub identity: Arc<Identity>,
}

/// When things were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moments {
    /// When the report is made.
    pub now: Timestamp,
    /// The same (`CLOCK_MONOTONIC`, ns).
    pub now_ns: u64,
    /// When the flow was first seen.
    pub first_seen: Timestamp,
    /// When its last packet was.
    pub last_seen: Timestamp,
}

/// One report of one flow at one endpoint.
#[derive(Debug, Clone, Serialize)]
pub struct FlowRecord<'a> {
    schema: &'static str,
    #[serde(serialize_with = "instant::serialize")]
    time: Timestamp,
    event: FlowEvent,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<&'a str>,
    endpoint: &'a Endpoint,
    direction: Direction,
    protocol: Protocol,
    #[serde(skip_serializing_if = "is_zero")]
    vlan: u16,
    local: Address,
    remote: Remote<'a>,
    #[serde(serialize_with = "instant::serialize")]
    first_seen: Timestamp,
    #[serde(serialize_with = "instant::serialize")]
    last_seen: Timestamp,
    tx: Counted,
    rx: Counted,
    #[serde(skip_serializing_if = "Option::is_none")]
    tcp: Option<Tcp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rtt: Option<RoundTrips>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dns: Option<Dns>,
    #[serde(skip_serializing_if = "Option::is_none")]
    icmp: Option<Icmp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    icmp_errors: Option<IcmpErrors>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<&'a Verdict>,
}

#[derive(Debug, Clone, Serialize)]
struct Address {
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
}

/// The other end, and who had its address then.
#[derive(Debug, Clone, Serialize)]
struct Remote<'a> {
    #[serde(flatten)]
    address: Address,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<EndpointKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<&'a Labels>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<IdentitySource>,
}

#[derive(Debug, Clone, Serialize)]
struct Counted {
    packets: u64,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    retransmits: Option<u32>,
    #[serde(skip_serializing_if = "is_zero")]
    gaps: u32,
    #[serde(skip_serializing_if = "is_zero")]
    zero_windows: u32,
}

/// Round-trip times by side; a side that was not measured is absent.
#[derive(Debug, Clone, Serialize)]
struct RoundTrips {
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<RoundTrip>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<RoundTrip>,
}

/// Microseconds.
#[derive(Debug, Clone, Serialize)]
struct RoundTrip {
    #[serde(skip_serializing_if = "Option::is_none")]
    handshake_us: Option<f64>,
    min_us: f64,
    avg_us: f64,
    max_us: f64,
    samples: u32,
}

#[derive(Debug, Clone, Serialize)]
struct Tcp {
    state: TcpState,
}

/// ICMP errors that came for this flow's packets.
#[derive(Debug, Clone, Serialize)]
struct IcmpErrors {
    count: u32,
    last_type: u8,
    last_code: u8,
}

impl<'a> FlowRecord<'a> {
    /// The record of `flow` at `endpoint`; `remote` is who has the other end's address, where it has one.
    pub fn new(
        event: FlowEvent,
        flow: &Flow,
        endpoint: &'a Endpoint,
        remote: Option<&'a Identity>,
        node: Option<&'a str>,
        moments: Moments,
    ) -> Self {
        let (local_port, remote_port) = flow.ports().unzip();
        Self {
            schema: "flowmon.flow.v1",
            time: moments.now,
            event,
            node,
            endpoint,
            direction: flow.direction(),
            protocol: flow.protocol(),
            vlan: flow.key.vlan,
            local: Address {
                ip: flow.local_ip(),
                port: local_port,
            },
            remote: Remote {
                address: Address {
                    ip: flow.remote_ip(),
                    port: remote_port,
                },
                kind: remote.map(|remote| remote.kind),
                namespace: remote.and_then(|remote| remote.namespace.as_deref()),
                name: remote.and_then(|remote| remote.name.as_deref()),
                labels: remote.and_then(|remote| remote.labels.as_ref()),
                source: remote.and_then(|remote| remote.source),
            },
            first_seen: moments.first_seen,
            last_seen: moments.last_seen,
            tx: Counted::of(flow, &flow.stats.tx),
            rx: Counted::of(flow, &flow.stats.rx),
            tcp: flow.tcp_state(moments.now_ns).map(|state| Tcp { state }),
            rtt: RoundTrips::of(flow),
            dns: flow.dns(moments.now_ns),
            icmp: flow.icmp(),
            icmp_errors: IcmpErrors::of(flow),
            verdict: None,
        }
    }

    /// With what policies say of it.
    #[must_use]
    pub fn with_verdict(self, verdict: Option<&'a Verdict>) -> Self {
        Self { verdict, ..self }
    }
}

impl IcmpErrors {
    fn of(flow: &Flow) -> Option<Self> {
        let count = u32::from(flow.stats.tx.icmp_errors) + u32::from(flow.stats.rx.icmp_errors);
        let [last_type, last_code] = flow.stats.icmp_error.to_be_bytes();
        (count > 0).then_some(Self {
            count,
            last_type,
            last_code,
        })
    }
}

impl Counted {
    fn of(flow: &Flow, half: &DirectionStats) -> Self {
        Self {
            packets: half.traffic.packets,
            bytes: half.traffic.bytes,
            retransmits: flow.is_tcp().then_some(half.retransmits),
            gaps: half.gaps,
            zero_windows: half.zero_windows.into(),
        }
    }
}

impl RoundTrips {
    /// What the endpoint sent is answered by the network, what it received by the container.
    fn of(flow: &Flow) -> Option<Self> {
        let trips = Self {
            network: RoundTrip::of(&flow.stats.tx),
            container: RoundTrip::of(&flow.stats.rx),
        };
        (trips.network.is_some() || trips.container.is_some()).then_some(trips)
    }
}

impl RoundTrip {
    fn of(half: &DirectionStats) -> Option<Self> {
        (half.rtt_samples > 0).then(|| Self {
            handshake_us: (half.rtt_handshake > 0).then(|| microseconds(half.rtt_handshake.into())),
            min_us: microseconds(half.rtt_min.into()),
            avg_us: microseconds(half.rtt_sum / u64::from(half.rtt_samples)),
            max_us: microseconds(half.rtt_max.into()),
            samples: half.rtt_samples,
        })
    }
}

/// To a tenth: finer than the clock's ticks would be invented.
fn microseconds(units: u64) -> f64 {
    (units as f64 * UNIT_NS as f64 / 100.0).round() / 10.0
}

/// What a run saw in all: totals = attributed + unattributed, always.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    schema: &'static str,
    /// Interfaces that were watched, at one time or another.
    pub interfaces: usize,
    /// Flows that were reported.
    pub flows: u64,
    /// What crossed the interfaces.
    #[serde(serialize_with = "flat")]
    pub totals: Totals,
    /// What of it is in reported flows.
    #[serde(serialize_with = "flat")]
    pub attributed: Totals,
    /// What of it is in no flow.
    #[serde(serialize_with = "flat")]
    pub unattributed: Totals,
    /// Packets that the parser refused, by reason.
    pub unparsed: BTreeMap<&'static str, u64>,
    /// What was lost, by cause.
    pub lost: BTreeMap<&'static str, u64>,
    /// How often a source of names said something else of an interface than one nearer to the kernel,
    /// which was believed.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub disagreements: BTreeMap<&'static str, u64>,
    /// What the XDP witness has to say, if there was to be one.
    #[serde(flatten)]
    pub witnessed: Option<Witnessed>,
    /// The smallest part of any interface's traffic, one way, that passed the hook; absent where
    /// nothing could be compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hook_coverage_ratio: Option<f64>,
    /// Where that is less than 1.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bypassed: Vec<Bypass>,
    /// How long round trips took: of all interfaces, then of each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub latency: Vec<Latency>,
    /// What policies say of the flows, if there are policies.
    #[serde(flatten)]
    pub audited: Option<Arc<Audited>>,
    /// Did every packet pass the hook, is it in a reported flow, and was every report delivered?
    pub complete: bool,
}

impl Summary {
    /// Draws the balance. `lost` holds everything that was lost apart from packets.
    pub fn new(
        interfaces: usize,
        flows: u64,
        totals: Totals,
        attributed: Totals,
        unparsed: BTreeMap<&'static str, u64>,
        lost: BTreeMap<&'static str, u64>,
    ) -> Self {
        let unattributed = Totals {
            tx: difference(totals.tx, attributed.tx),
            rx: difference(totals.rx, attributed.rx),
        };
        let complete = attributed == totals && lost.values().all(|&count| count == 0);
        Self {
            schema: "flowmon.summary.v1",
            interfaces,
            flows,
            totals,
            attributed,
            unattributed,
            unparsed,
            lost,
            disagreements: BTreeMap::new(),
            witnessed: None,
            hook_coverage_ratio: None,
            bypassed: Vec::new(),
            latency: Vec::new(),
            audited: None,
            complete,
        }
    }

    /// Adds how often sources of names disagreed.
    #[must_use]
    pub fn with_disagreements(mut self, disagreements: &BTreeMap<IdentitySource, u64>) -> Self {
        let named = disagreements.iter();
        self.disagreements = named
            .map(|(source, times)| (source.label(), *times))
            .collect();
        self
    }

    /// Adds a second opinion. Frames that never came to the flow programs are in no flow.
    #[must_use]
    pub fn with_witness(mut self, witnessed: Option<Witnessed>) -> Self {
        if let Some(Witnessed { witness, .. }) = &witnessed {
            self.complete &= witness.missed == Amount::default();
        }
        self.witnessed = witnessed;
        self
    }

    /// With how long round trips took.
    #[must_use]
    pub fn with_latency(self, latency: Vec<Latency>) -> Self {
        Self { latency, ..self }
    }

    /// With what policies say of the flows.
    #[must_use]
    pub fn with_audited(self, audited: Option<Arc<Audited>>) -> Self {
        Self { audited, ..self }
    }

    /// With what is known of packets that did not pass the hooks, and so are in no total.
    #[must_use]
    pub fn with_coverage(self, coverage: Coverage) -> Self {
        Self {
            hook_coverage_ratio: coverage.ratio(),
            complete: self.complete && coverage.bypassed.is_empty(),
            bypassed: coverage.bypassed,
            ..self
        }
    }
}

fn difference(all: Traffic, part: Traffic) -> Traffic {
    Traffic {
        packets: all.packets.saturating_sub(part.packets),
        bytes: all.bytes.saturating_sub(part.bytes),
    }
}

fn is_zero<T: Default + PartialEq>(number: &T) -> bool {
    *number == T::default()
}

fn flat<S: serde::Serializer>(totals: &Totals, serializer: S) -> Result<S::Ok, S::Error> {
    use serde::ser::SerializeStruct as _;
    let mut fields = serializer.serialize_struct("Totals", 4)?;
    fields.serialize_field("tx_packets", &totals.tx.packets)?;
    fields.serialize_field("tx_bytes", &totals.tx.bytes)?;
    fields.serialize_field("rx_packets", &totals.rx.packets)?;
    fields.serialize_field("rx_bytes", &totals.rx.bytes)?;
    fields.end()
}
