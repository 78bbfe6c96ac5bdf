//! What is exposed: names are promises to users.

/// The value of `peer`, `endpoint` and `interface` for all those without series of their own.
pub(super) const OTHER: &str = "other";

/// Time series of one name.
#[derive(Debug)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// What it tells.
    pub help: &'static str,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Family {
    /// `counter`, `gauge` or `histogram`.
    pub const fn kind(&self) -> &'static str {
        match self.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

macro_rules! families {
    ($($constant:ident: $kind:ident $name:literal $help:literal)*) => {
        $(pub(super) static $constant: Family = Family {
            name: $name,
            help: $help,
            kind: Kind::$kind,
        };)*

        /// All of them.
        pub static FAMILIES: &[&Family] = &[$(&$constant),*];
    };
}

families! {
    FLOW_BYTES: Counter "flowmon_flow_bytes_total"
        "Bytes of flows on the wire, link-layer headers included."
    FLOW_PACKETS: Counter "flowmon_flow_packets_total"
        "Packets of flows on the wire; a GSO super-packet counts as its segments."
    FLOWS: Counter "flowmon_flows_total"
        "Flows, each once, by the verdict it was first told with."
    UNDECIDED: Counter "flowmon_policy_undecided_total"
        "Flows of which policies could not say anything when they were first judged, by why."
    VIOLATIONS: Counter "flowmon_policy_violations_total"
        "Flows that policies deny, each once."
    VIOLATION_BYTES: Counter "flowmon_policy_violation_bytes_total"
        "Bytes of flows, both ways, while policies denied them."
    RETRANSMITS: Counter "flowmon_tcp_retransmits_total"
        "TCP segments sent again."
    FAILED_CONNECTIONS: Counter "flowmon_tcp_failed_connections_total"
        "TCP connections that were refused, not answered or reset, counted when the flow ends."
    RTT: Histogram "flowmon_tcp_rtt_seconds"
        "Round trips of TCP other than handshakes. Buckets and count are the kernel side's; the sum is that of the flows."
    HANDSHAKE: Histogram "flowmon_tcp_handshake_seconds"
        "Round trips of TCP handshakes. Buckets and count are the kernel side's; the sum is that of the flows."
    INTERFACE_BYTES: Counter "flowmon_interface_bytes_total"
        "Bytes that crossed the interface, exact whatever becomes of flows."
    INTERFACE_PACKETS: Counter "flowmon_interface_packets_total"
        "Packets that crossed the interface, exact whatever becomes of flows."
    HOOK_COVERAGE: Gauge "flowmon_hook_coverage_ratio"
        "The part of the interface's traffic that passed the hook, of the way of which less did."
    UNATTRIBUTED_BYTES: Counter "flowmon_unattributed_bytes_total"
        "Bytes that crossed an interface and are in no flow."
    UNATTRIBUTED_PACKETS: Counter "flowmon_unattributed_packets_total"
        "Packets that crossed an interface and are in no flow."
    UNPARSED: Counter "flowmon_unparsed_packets_total"
        "Packets that the parser refused."
    LOST: Counter "flowmon_lost_total"
        "What was lost, by cause."
    MAP_ENTRIES: Gauge "flowmon_map_entries"
        "Entries in a map of the kernel side."
    MAP_CAPACITY: Gauge "flowmon_map_capacity"
        "Entries that a map of the kernel side has room for."
    SUPPRESSED: Counter "flowmon_series_suppressed_total"
        "Peers that were counted as other when first heard of, as the series budget had no room for them."
    POLICIES: Gauge "flowmon_policies"
        "Policies in force."
    RELOAD_FAILURES: Counter "flowmon_policy_reload_failures_total"
        "Times that policies were to be read again and could not be: the last ones stayed."
    SOURCES_UP: Gauge "flowmon_identity_sources_up"
        "Does a source of identities answer? One that was never there is absent."
    EBPF_RUN: Counter "flowmon_ebpf_run_seconds_total"
        "How long a program of the kernel side has run; absent while the kernel does not measure it (kernel.bpf_stats_enabled)."
    DRAIN: Histogram "flowmon_drain_duration_seconds"
        "How long a reading of all counters took."
    BUILD_INFO: Gauge "flowmon_build_info"
        "1, with the version."
}
