//! One talk with its flows, and one flow with all that is known of it.

use std::sync::Arc;

use flowmon_common::{DirectionStats, FlowKey};
use ratatui::text::{Line, Span};

use super::{Lines, arrow, parties, rate, service, style_if};
use crate::{
    model::{Endpoint, EndpointKind, Flow, IdentitySource, Outcome, TcpState, Verdict},
    sinks::{
        escaped,
        talks::Talk,
        terminal::{
            look::{BOLD, DIM, Look, SELECTED},
            state::{FlowNow, TalkNow, seconds},
            verdict,
            view::View,
        },
        units::{counted, duration, human},
    },
};

/// Lines above the flows of a talk.
pub(super) const ABOVE: usize = 10;

pub(super) fn talk(
    view: &View,
    look: Look,
    talk: &Arc<Talk>,
    width: usize,
    height: usize,
) -> Lines {
    let flows = view.flow_rows();
    let mut lines = vec![look.rule(vec![Span::styled(name(talk, look), BOLD)], width)];
    match view.shown().talks.get(talk) {
        Some(now) => lines.extend(about(talk, now, &flows, look, width)),
        None => lines.push(Line::styled("nothing was heard of it for a while", DIM)),
    }
    lines.resize(ABOVE - 2, Line::default());
    let room = height.saturating_sub(ABOVE);
    let top = view.flows.top;
    let mut title = vec![Span::styled(counted(flows.len() as u64, "flow"), BOLD)];
    if flows.len() > room {
        let last = flows.len().min(top + room);
        title.push(Span::raw(format!(", {} to {last}", top + 1)));
    }
    lines.push(look.rule(title, width));
    let address = address_width(width);
    lines.push(Line::styled(
        format!(
            " {:<address$}   {:<address$} {:<11} {:>6} {:>6} {:>6} {:>6}",
            "LOCAL", "REMOTE", "STATE", "SENT/s", "RECV/s", "RTT", "CONT"
        ),
        BOLD,
    ));
    let now_ns = view.shown().now.monotonic_ns;
    for (key, flow) in flows.iter().skip(top).take(room) {
        let line = row(flow, now_ns, look, address);
        lines.push(if view.flows.is_on(key) {
            line.style(SELECTED)
        } else {
            line
        });
    }
    lines
}

fn name(talk: &Talk, look: Look) -> String {
    let (from, to) = parties(talk);
    let (from, to) = (look.plain(from), look.plain(to));
    format!("{from} {} {to}  {}", look.arrow(true), service(talk))
}

fn about(
    talk: &Talk,
    now: &TalkNow,
    flows: &[(&FlowKey, &FlowNow)],
    look: Look,
    width: usize,
) -> Lines {
    let trip = |time: Option<f64>| time.map_or_else(|| "not measured".to_owned(), duration);
    let spark = width.saturating_sub(60).clamp(10, 60);
    let sum = |of: fn(&DirectionStats) -> u32, sent: bool| -> u64 {
        let halves = flows.iter().map(|(_, flow)| {
            let stats = &flow.flow.stats;
            u64::from(of(if sent { &stats.tx } else { &stats.rx }))
        });
        halves.sum()
    };
    let verdicts = flows.iter().filter_map(|(_, flow)| flow.verdict.as_ref());
    let worst = verdicts.max_by_key(|verdict| match verdict.outcome {
        Outcome::Allowed => 0,
        Outcome::Undecided => 1,
        Outcome::Denied => 2,
    });
    let mut lines = vec![
        field("endpoint", &endpoint(&talk.endpoint, &now.endpoint, look)),
        field("peer", &look.plain(&peer(&talk.peer, now.peer))),
        field(
            "rate",
            &format!(
                "sent {}B/s  received {}B/s  {}",
                human(now.rates.sent),
                human(now.rates.received),
                look.sparkline(now.history.latest(spark), spark)
                    .trim_start()
            ),
        ),
        field(
            "round trips",
            &format!(
                "network {}, container {}",
                trip(now.network),
                trip(now.container)
            ),
        ),
        field(
            "sent again",
            &format!(
                "{} in all; of the flows below {} by the endpoint, {} by the peer",
                now.retransmits,
                sum(|half| half.retransmits, true),
                sum(|half| half.retransmits, false)
            ),
        ),
    ];
    lines.extend(verdict_fields(worst, look));
    lines
}

fn field(name: &str, value: &str) -> Line<'static> {
    Line::from(vec![
        Span::styled(format!("{name:<14}"), DIM),
        Span::raw(value.to_owned()),
    ])
}

/// What it comes to, and below it why.
fn verdict_fields(verdict: Option<&Verdict>, look: Look) -> Lines {
    let Some(verdict) = verdict else {
        return vec![field("verdict", "not judged")];
    };
    let style = match verdict.outcome {
        Outcome::Denied => look.alarm(),
        Outcome::Undecided => look.warning(),
        Outcome::Allowed => ratatui::style::Style::new(),
    };
    let word = look.plain(&verdict::word(verdict));
    let word = Line::from(vec![
        Span::styled(format!("{:<14}", "verdict"), DIM),
        Span::styled(word, style),
    ]);
    vec![word, field("", verdict::why(verdict))]
}

fn endpoint(name: &str, endpoint: &Endpoint, look: Look) -> String {
    let interface = escaped(&endpoint.interface);
    let place = if name == interface {
        String::new()
    } else {
        format!(" at {interface}")
    };
    let identity = &endpoint.identity;
    let who = someone(name, identity.kind);
    look.plain(&format!("{who}{place}{}", known_by(identity.source)))
}

fn peer(name: &str, peer: Option<(EndpointKind, Option<IdentitySource>)>) -> String {
    match peer {
        Some((kind, source)) => format!("{}{}", someone(name, kind), known_by(source)),
        None => name.to_owned(),
    }
}

fn someone(name: &str, kind: EndpointKind) -> String {
    match kind {
        EndpointKind::Unknown => name.to_owned(),
        kind => format!("{} {name}", kind.label()),
    }
}

fn known_by(source: Option<IdentitySource>) -> String {
    source.map_or_else(String::new, |source| {
        format!(", as {} says", source.label())
    })
}

fn address_width(width: usize) -> usize {
    width.saturating_sub(1 + 3 + 1 + 11 + 4 * 7) / 2
}

fn row(now: &FlowNow, now_ns: u64, look: Look, address: usize) -> Line<'static> {
    let flow = &now.flow;
    let (local, remote) = ends(flow);
    let trip = |half: &DirectionStats| {
        if half.rtt_samples > 0 {
            duration(seconds(half.rtt_last.into()))
        } else {
            String::new()
        }
    };
    let outcome = now.verdict.as_ref().map(|verdict| verdict.outcome);
    let (mark, style) = match outcome {
        Some(Outcome::Denied) => ("!", look.alarm()),
        Some(Outcome::Undecided) => ("?", look.warning()),
        _ if now.trouble.is_some() => ("*", look.warning()),
        _ => (" ", ratatui::style::Style::new()),
    };
    let text = format!(
        "{} {} {} {:<11} {:>6} {:>6} {:>6} {:>6}",
        look.fitted(&local, address),
        arrow(flow.direction(), look),
        look.fitted(&remote, address),
        state(now, now_ns),
        rate(now.rates.sent),
        rate(now.rates.received),
        trip(&flow.stats.tx),
        trip(&flow.stats.rx),
    );
    let quiet = style_if(now.ended.is_some(), DIM);
    Line::from(vec![Span::styled(mark, style), Span::styled(text, quiet)])
}

fn ends(flow: &Flow) -> (String, String) {
    let (local, remote) = flow.ports().unzip();
    let end = |ip: Option<std::net::IpAddr>, port: Option<u16>| match (ip, port) {
        (Some(ip), Some(port)) => std::net::SocketAddr::new(ip, port).to_string(),
        (Some(ip), None) => ip.to_string(),
        (None, _) => "-".to_owned(),
    };
    (end(flow.local_ip(), local), end(flow.remote_ip(), remote))
}

fn state(now: &FlowNow, now_ns: u64) -> &'static str {
    match now.flow.tcp_state(now_ns) {
        Some(TcpState::Syn) => "syn",
        Some(TcpState::Established) => "established",
        Some(TcpState::Closing) => "closing",
        Some(TcpState::Closed) => "closed",
        Some(TcpState::Reset) => "reset",
        Some(TcpState::Refused) => "refused",
        Some(TcpState::Timeout) => "timeout",
        None if now.ended.is_some() => "ended",
        None => now.trouble.unwrap_or_default(),
    }
}

pub(super) fn flow(view: &View, look: Look, talk: &Arc<Talk>, key: &FlowKey) -> Lines {
    let mut lines = vec![Line::styled(name(talk, look), BOLD)];
    let Some(now) = view.shown().flows.get(key) else {
        lines.push(Line::styled("it has ended", DIM));
        return lines;
    };
    let flow = &now.flow;
    let moment = &view.shown().now;
    let (local, remote) = ends(flow);
    let time = |ns| {
        moment
            .wall_at(ns)
            .strftime("%Y-%m-%d %H:%M:%SZ")
            .to_string()
    };
    let talk_now = view.shown().talks.get(talk);
    if let Some(talk_now) = talk_now {
        lines.push(field(
            "endpoint",
            &endpoint(&talk.endpoint, &talk_now.endpoint, look),
        ));
        lines.push(field("peer", &look.plain(&peer(&talk.peer, talk_now.peer))));
    }
    lines.push(field(
        "addresses",
        &format!("{local} {} {remote}", arrow(flow.direction(), look)),
    ));
    let ended = if now.ended.is_some() { ", ended" } else { "" };
    lines.push(field(
        "state",
        &format!("{}{ended}", state(now, moment.monotonic_ns)),
    ));
    let (first, last) = (time(flow.stats.first_ns), time(flow.last_ns));
    lines.push(field("seen", &format!("{first} to {last}")));
    lines.extend(verdict_fields(now.verdict.as_ref(), look));
    if let Some(peer) = now
        .verdict
        .as_ref()
        .and_then(|verdict| verdict.peer_outcome)
    {
        lines.push(field(
            "",
            &format!("the peer's own policies: {}", peer.label()),
        ));
    }
    lines.push(Line::styled(
        format!("{:<14}{:>22}{:>22}", "", "SENT", "RECEIVED"),
        BOLD,
    ));
    lines.extend(amounts(now));
    lines
}

/// What each side did, beside one another.
fn amounts(now: &FlowNow) -> Lines {
    let (sent, received) = (&now.flow.stats.tx, &now.flow.stats.rx);
    let trip = |units: u64, half: &DirectionStats| {
        if half.rtt_samples > 0 {
            duration(seconds(units))
        } else {
            "-".to_owned()
        }
    };
    let mean =
        |half: &DirectionStats| trip(half.rtt_sum / u64::from(half.rtt_samples.max(1)), half);
    let row = |name: &str, of: &dyn Fn(&DirectionStats) -> String| {
        Line::from(vec![
            Span::styled(format!("{name:<14}"), DIM),
            Span::raw(format!("{:>22}{:>22}", of(sent), of(received))),
        ])
    };
    let rates = Line::from(vec![
        Span::styled(format!("{:<14}", "bytes/s"), DIM),
        Span::raw(format!(
            "{:>22}{:>22}",
            rate(now.rates.sent),
            rate(now.rates.received)
        )),
    ]);
    let mut lines = vec![
        rates,
        row("packets", &|half| half.traffic.packets.to_string()),
        row("bytes", &|half| half.traffic.bytes.to_string()),
    ];
    if now.flow.is_tcp() {
        lines.push(row("sent again", &|half| half.retransmits.to_string()));
        lines.push(row("gaps", &|half| half.gaps.to_string()));
        lines.push(row("zero windows", &|half| half.zero_windows.to_string()));
    }
    lines.push(Line::styled(
        format!("{:<14}{:>22}{:>22}", "ROUND TRIPS", "NETWORK", "CONTAINER"),
        BOLD,
    ));
    lines.push(row("latest", &|half| trip(half.rtt_last.into(), half)));
    lines.push(row("min", &|half| trip(half.rtt_min.into(), half)));
    lines.push(row("mean", &mean));
    lines.push(row("max", &|half| trip(half.rtt_max.into(), half)));
    lines
}
