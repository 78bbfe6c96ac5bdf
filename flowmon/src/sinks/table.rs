//! A snapshot for people, each interval: who talked most, and what went wrong.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt::Write as _,
    net::IpAddr,
};

use flowmon_common::{FlowKey, Totals, probe::UNIT_NS};

use super::{
    Format, Overview, Told, escaped, findings,
    units::{duration, fitted, human},
    verdicts,
};
use crate::{
    clock::Moment,
    model::{
        Bypass, Direction, Endpoint, Finding, Flow, FlowEvent, Identity, Latency, Protocol,
        Quantiles, Report, Summary, TcpState, Way,
    },
};

/// Rows of talkers, and of troubles, in a snapshot: together they fit a screen.
const TALKERS: usize = 14;
const TROUBLES: usize = 5;

/// Rows of violations in the summary.
const VIOLATIONS: usize = 20;

/// Readable in 80 columns.
pub struct Table {
    talkers: HashMap<Talk, Amount>,
    troubles: BTreeMap<(Talk, &'static str), HashSet<FlowKey>>,
    /// When the interval began (`CLOCK_MONOTONIC`, ns), and how things were then.
    since: (u64, Overview),
}

/// What a row is about: every connection of one endpoint to one service of one peer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Talk {
    /// The endpoint's name, or its interface's.
    endpoint: String,
    direction: Direction,
    protocol: Protocol,
    /// The peer's name, or its address.
    peer: String,
    /// The port of the side that was asked; none where that is not known.
    port: Option<u16>,
}

#[derive(Debug, Default)]
struct Amount {
    flows: HashSet<FlowKey>,
    growth: Totals,
    /// Of the flows' latest round trips over the network: their sum, and how many.
    round_trips: (u64, u64),
}

impl Table {
    /// The first interval begins `now`.
    pub fn new(now: &Moment) -> Self {
        Self {
            talkers: HashMap::new(),
            troubles: BTreeMap::new(),
            since: (now.monotonic_ns, Overview::default()),
        }
    }
}

impl Format for Table {
    fn flow(&mut self, _: &mut Vec<u8>, told: &Told<'_>) {
        let Told { report, now, .. } = *told;
        let talk = Talk::of(report.flow, told.endpoint, told.remote);
        if let Some(trouble) = trouble(report, now) {
            let flows = self.troubles.entry((talk.clone(), trouble)).or_default();
            flows.insert(report.flow.key);
        }
        if report.growth != Totals::default() {
            let amount = self.talkers.entry(talk).or_default();
            amount.flows.insert(report.flow.key);
            amount.growth += report.growth;
            let sent = &report.flow.stats.tx;
            if sent.rtt_samples > 0 {
                amount.round_trips.0 += u64::from(sent.rtt_last);
                amount.round_trips.1 += 1;
            }
        }
    }

    fn interval(&mut self, out: &mut Vec<u8>, overview: &Overview, now: &Moment) {
        let (since, before) =
            std::mem::replace(&mut self.since, (now.monotonic_ns, overview.clone()));
        let seconds = now.monotonic_ns.saturating_sub(since) as f64 / 1e9;
        let mut text = header(overview, &before, seconds, now);
        let talkers = std::mem::take(&mut self.talkers);
        let audited = overview.audited.as_deref();
        let others = audited.map_or(0, |audited| {
            verdicts::counts(&mut text, audited);
            verdicts::lines(audited, TROUBLES)
        });
        talker_rows(&mut text, talkers, TALKERS - others, seconds);
        if let Some(audited) = audited {
            verdicts::violations(&mut text, audited, TROUBLES);
        }
        bypass_rows(&mut text, &overview.bypassed);
        trouble_rows(&mut text, std::mem::take(&mut self.troubles));
        finding_rows(&mut text, &overview.findings);
        text.push('\n');
        out.extend(text.as_bytes());
    }

    fn summary(&mut self, out: &mut Vec<u8>, summary: &Summary) {
        out.extend(closing(summary).into_bytes());
    }
}

impl Talk {
    fn of(flow: &Flow, endpoint: &Endpoint, remote: Option<&Identity>) -> Self {
        let direction = flow.direction();
        let asked = match (flow.ports(), direction) {
            (Some((local, _)), Direction::Ingress) => Some(local),
            (Some((_, remote)), Direction::Egress) => Some(remote),
            _ => None,
        };
        Self {
            endpoint: named(&endpoint.identity)
                .unwrap_or_else(|| escaped(&endpoint.interface).into_owned()),
            direction,
            protocol: flow.protocol(),
            peer: remote
                .and_then(named)
                .unwrap_or_else(|| peer(flow.remote_ip())),
            port: asked,
        }
    }
}

/// As people say it: the namespace only where it tells something.
fn named(identity: &Identity) -> Option<String> {
    let name = identity.name.as_deref()?;
    Some(match identity.namespace.as_deref() {
        None | Some("default") => name.to_owned(),
        Some(namespace) => format!("{namespace}/{name}"),
    })
}

/// What is wrong with a flow, in a word. Said while it grows; of what times out, when it ends.
fn trouble(report: &Report<'_>, now: &Moment) -> Option<&'static str> {
    let flow = report.flow;
    let state = flow.tcp_state(now.monotonic_ns);
    let ended = report.event == FlowEvent::End;
    match state {
        Some(TcpState::Timeout) if ended => Some("timeout"),
        _ if ended => None,
        Some(TcpState::Refused) => Some("refused"),
        Some(TcpState::Reset) => Some("reset"),
        _ if flow.stats.tx.icmp_errors > 0 || flow.stats.rx.icmp_errors > 0 => Some("unreachable"),
        _ => None,
    }
}

fn rate(amount: u64, seconds: f64) -> String {
    if seconds > 0.0 {
        human(amount as f64 / seconds)
    } else {
        "-".to_owned()
    }
}

fn header(now: &Overview, before: &Overview, seconds: f64, moment: &Moment) -> String {
    let grown = |now: u64, before: u64| rate(now.saturating_sub(before), seconds);
    format!(
        "{:.0}  {} interfaces, {} flows, sent {}B/s, received {}B/s\n",
        moment.wall.strftime("%H:%M:%SZ"),
        now.interfaces,
        now.flows,
        grown(now.totals.tx.bytes, before.totals.tx.bytes),
        grown(now.totals.rx.bytes, before.totals.rx.bytes),
    ) + &coverage(now)
}

fn coverage(overview: &Overview) -> String {
    let all = overview.totals.tx.packets + overview.totals.rx.packets;
    let told = overview.attributed.tx.packets + overview.attributed.rx.packets;
    let percent = if all == 0 {
        100.0
    } else {
        told.min(all) as f64 / all as f64 * 100.0
    };
    format!(
        "{:.0} packets, {percent:.1} % of them in flows, {} not; {} reports or events lost\n",
        all,
        all.saturating_sub(told),
        overview.lost
    )
}

fn talker_rows(text: &mut String, talkers: HashMap<Talk, Amount>, most: usize, seconds: f64) {
    let mut rows: Vec<(Talk, Amount)> = talkers.into_iter().collect();
    let bytes = |amount: &Amount| amount.growth.tx.bytes + amount.growth.rx.bytes;
    rows.sort_by(|(a, x), (b, y)| bytes(y).cmp(&bytes(x)).then_with(|| a.cmp(b)));
    row(
        text,
        [
            "ENDPOINT", "DIR", "PROTO", "PEER", "PORT", "FLOWS", "SENT/s", "RECV/s", "RTT",
        ],
    );
    for (talk, amount) in rows.iter().take(most) {
        row(
            text,
            [
                &talk.endpoint,
                dir(talk.direction),
                &talk.protocol.to_string(),
                &talk.peer,
                &talk.port.map_or_else(String::new, |port| port.to_string()),
                &amount.flows.len().to_string(),
                &rate(amount.growth.tx.bytes, seconds),
                &rate(amount.growth.rx.bytes, seconds),
                &round_trip(amount.round_trips),
            ],
        );
    }
    if rows.len() > most {
        let _infallible = writeln!(text, "… and {} more", rows.len() - most);
    }
}

/// Of all interfaces together.
fn latency_rows(text: &mut String, latency: &[Latency]) {
    for all in latency.iter().filter(|one| one.interface.is_none()) {
        let limit = |us: f64| duration(us / 1e6);
        let Quantiles {
            samples,
            p50_us,
            p90_us,
            p99_us,
        } = all.rtt;
        let _infallible = writeln!(
            text,
            "RTT {}: {} samples; half below {}, 90 % {}, 99 % {}",
            all.side,
            human(samples as f64),
            limit(p50_us),
            limit(p90_us),
            limit(p99_us)
        );
    }
}

/// Traffic that is in no number of the rest.
fn bypass_rows(text: &mut String, bypassed: &[Bypass]) {
    for bypass in bypassed.iter().take(TROUBLES) {
        let way = match bypass.way {
            Way::Tx => "sent",
            Way::Rx => "received",
        };
        let _infallible = writeln!(
            text,
            "! bypass: of what {} {way}, {:.1} % passed flowmon; {} buffers did not",
            fitted(&escaped(&bypass.interface), 15),
            bypass.ratio * 100.0,
            human(bypass.buffers as f64),
        );
    }
    if bypassed.len() > TROUBLES {
        let _infallible = writeln!(text, "! and {} more bypasses", bypassed.len() - TROUBLES);
    }
}

fn trouble_rows(text: &mut String, troubles: BTreeMap<(Talk, &'static str), HashSet<FlowKey>>) {
    let more = troubles.len().saturating_sub(TROUBLES);
    for ((talk, trouble), flows) in troubles.into_iter().take(TROUBLES) {
        let port = talk
            .port
            .map_or_else(String::new, |port| format!("/{port}"));
        // With all else at its longest, this is what 80 columns have room for.
        let peer = fitted(&talk.peer, 22);
        let endpoint = fitted(&talk.endpoint, 15);
        let (from, to) = match talk.direction {
            Direction::Ingress => (peer, endpoint),
            _ => (endpoint, peer),
        };
        let _infallible = writeln!(
            text,
            "! {trouble}: {from} to {to} {}{port}, {} flows",
            talk.protocol,
            flows.len()
        );
    }
    if more > 0 {
        let _infallible = writeln!(text, "! and {more} more");
    }
}

fn finding_rows(text: &mut String, all: &[Finding]) {
    for finding in all.iter().take(TROUBLES) {
        findings::lines(text, finding, &fitted(&escaped(&finding.interface), 15));
    }
    if all.len() > TROUBLES {
        let _infallible = writeln!(text, "! and {} more interfaces", all.len() - TROUBLES);
    }
}

const fn dir(direction: Direction) -> &'static str {
    match direction {
        Direction::Egress => "out",
        Direction::Ingress => "in",
        Direction::Unknown => "?",
    }
}

fn peer(address: Option<IpAddr>) -> String {
    address.map_or_else(|| "-".to_owned(), |address| address.to_string())
}

/// One line of at most 80 columns. What is too wide keeps its end, which tells addresses apart.
fn row(
    text: &mut String,
    [
        endpoint,
        dir,
        protocol,
        peer,
        port,
        flows,
        sent,
        received,
        rtt,
    ]: [&str; 9],
) {
    let _infallible = writeln!(
        text,
        "{:<12} {dir:<3} {:<6} {:<21} {port:>5} {flows:>5} {sent:>7} {received:>7} {rtt:>6}",
        fitted(endpoint, 12),
        fitted(protocol, 6),
        fitted(peer, 21),
    );
}

/// The mean, for people; nothing when none was measured.
fn round_trip((sum, count): (u64, u64)) -> String {
    if count == 0 {
        return String::new();
    }
    duration((sum * UNIT_NS) as f64 / count as f64 / 1e9)
}

fn closing(summary: &Summary) -> String {
    let mut text = format!(
        "{} flows on {} interfaces\n{:<12}{:>15}{:>18}{:>15}{:>18}\n",
        summary.flows, summary.interfaces, "", "SENT packets", "bytes", "RECV packets", "bytes"
    );
    for (name, Totals { tx, rx }) in [
        ("total", &summary.totals),
        ("in flows", &summary.attributed),
        ("in no flow", &summary.unattributed),
    ] {
        let _infallible = writeln!(
            text,
            "{name:<12}{:>15}{:>18}{:>15}{:>18}",
            tx.packets, tx.bytes, rx.packets, rx.bytes
        );
    }
    for (what, counts) in [("unparsed", &summary.unparsed), ("lost", &summary.lost)] {
        for (cause, count) in counts.iter().filter(|(_, count)| **count > 0) {
            let _infallible = writeln!(text, "{what} {cause}: {count}");
        }
    }
    if let Some(audited) = &summary.audited {
        verdicts::counts(&mut text, audited);
        verdicts::violations(&mut text, audited, VIOLATIONS);
    }
    latency_rows(&mut text, &summary.latency);
    bypass_rows(&mut text, &summary.bypassed);
    if let Some(witnessed) = &summary.witnessed {
        findings::witnessed(&mut text, witnessed);
        finding_rows(&mut text, &witnessed.findings);
    }
    text.push_str(if summary.complete {
        "complete\n"
    } else {
        "incomplete\n"
    });
    text
}
