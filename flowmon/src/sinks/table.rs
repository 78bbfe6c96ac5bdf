//! A snapshot for people, each interval: who talked most, and what went wrong.

use std::{collections::BTreeMap, fmt::Write as _};

use flowmon_common::{Totals, probe::UNIT_NS};

use super::{
    Format, Overview, Told, escaped, findings,
    talks::{Amount, Others, Talk, Talks},
    units::{duration, fitted, human},
    verdicts,
};
use crate::{
    clock::Moment,
    model::{Bypass, Direction, Finding, Latency, Quantiles, Summary, Way},
};

/// Rows of talkers, and of troubles, in a snapshot: together they fit a screen.
const TALKERS: usize = 14;
const TROUBLES: usize = 5;

/// Rows of violations in the summary.
const VIOLATIONS: usize = 20;

/// Readable in 80 columns.
pub struct Table {
    talks: Talks,
    /// When the interval began (`CLOCK_MONOTONIC`, ns), and how things were then.
    since: (u64, Overview),
}

impl Table {
    /// The first interval begins `now`.
    pub fn new(now: &Moment) -> Self {
        Self {
            talks: Talks::default(),
            since: (now.monotonic_ns, Overview::default()),
        }
    }
}

impl Format for Table {
    fn flow(&mut self, _: &mut Vec<u8>, told: &Told<'_>) {
        self.talks.add(told);
    }

    fn interval(&mut self, out: &mut Vec<u8>, overview: &Overview, now: &Moment) {
        let (since, before) =
            std::mem::replace(&mut self.since, (now.monotonic_ns, overview.clone()));
        let seconds = now.monotonic_ns.saturating_sub(since) as f64 / 1e9;
        let mut text = header(overview, &before, seconds, now);
        let audited = overview.audited.as_deref();
        let others = audited.map_or(0, |audited| {
            verdicts::counts(&mut text, audited);
            verdicts::lines(audited, TROUBLES)
        });
        let talks = self.talks.take();
        talker_rows(&mut text, &talks, TALKERS - others, seconds);
        if let Some(audited) = audited {
            verdicts::violations(&mut text, audited, TROUBLES);
        }
        bypass_rows(&mut text, &overview.bypassed);
        trouble_rows(&mut text, &talks);
        finding_rows(&mut text, &overview.findings);
        text.push('\n');
        out.extend(text.as_bytes());
    }

    fn summary(&mut self, out: &mut Vec<u8>, summary: &Summary) {
        out.extend(closing(summary).into_bytes());
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

fn talker_rows(text: &mut String, talks: &Talks, most: usize, seconds: f64) {
    let grew = talks.amounts.iter();
    let mut rows: Vec<(&Talk, &Amount)> = grew
        .filter(|(_, amount)| amount.growth != Totals::default())
        .collect();
    let bytes = |amount: &Amount| amount.growth.tx.bytes + amount.growth.rx.bytes;
    rows.sort_by(|(a, x), (b, y)| bytes(y).cmp(&bytes(x)).then_with(|| a.cmp(b)));
    row(
        text,
        [
            "ENDPOINT", "DIR", "PROTO", "PEER", "PORT", "FLOWS", "SENT/s", "RECV/s", "RTT",
        ],
    );
    for (talk, amount) in rows.iter().take(most) {
        let more = if amount.has_more { "+" } else { "" };
        row(
            text,
            [
                &talk.endpoint,
                dir(talk.direction),
                &talk.protocol.to_string(),
                &talk.peer,
                &talk.port.map_or_else(String::new, |port| port.to_string()),
                &format!("{}{more}", amount.grown().count()),
                &rate(amount.growth.tx.bytes, seconds),
                &rate(amount.growth.rx.bytes, seconds),
                &round_trip(amount),
            ],
        );
    }
    if rows.len() > most {
        let _infallible = writeln!(text, "… and {} more", rows.len() - most);
    }
    if talks.others != Others::default() {
        let Totals { tx, rx } = talks.others.growth;
        let _infallible = writeln!(
            text,
            "… and others, more than are told apart: sent {}B/s, received {}B/s",
            rate(tx.bytes, seconds),
            rate(rx.bytes, seconds)
        );
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

fn trouble_rows(text: &mut String, talks: &Talks) {
    let mut troubles: BTreeMap<(&Talk, &str), usize> = BTreeMap::new();
    for (talk, amount) in &talks.amounts {
        for trouble in amount.flows.values().filter_map(|heard| heard.trouble) {
            *troubles.entry((talk, trouble)).or_default() += 1;
        }
    }
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
            talk.protocol, flows
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

/// The mean of the flows' latest over the network, for people; nothing when none was measured.
fn round_trip(amount: &Amount) -> String {
    let timed = amount.grown().map(|heard| &heard.flow.stats.tx);
    let (sum, count) = timed
        .filter(|sent| sent.rtt_samples > 0)
        .fold((0, 0), |(sum, count), sent| {
            (sum + u64::from(sent.rtt_last), count + 1)
        });
    if count == 0 {
        return String::new();
    }
    duration((sum * UNIT_NS) as f64 / f64::from(count) / 1e9)
}

pub(super) fn closing(summary: &Summary) -> String {
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
