//! Told what happened, asked what is to be seen.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::{env, fs, net::IpAddr, path::Path, sync::Arc};

use flowmon_common::{Address, FlowKey, FlowStats, Initiator, Totals, Traffic, wire::tcp};
use proptest::prelude::*;
use ratatui::{Terminal, backend::TestBackend, crossterm::event::KeyEvent};

use super::{
    draw, keys,
    look::{Look, columns},
    state::Interval,
    view::{Page, Pane, Then, View},
};
use crate::{
    clock::Moment,
    model::{
        Audited, Bypass, Direction, Endpoint, EndpointKind, Flow, FlowEvent, Identity,
        IdentitySource, Outcome, Report, Verdict, Way,
    },
    sinks::{Overview, Told, talks::Talks},
};

const LOOK: Look = Look {
    has_colours: true,
    has_unicode: true,
};
const SECOND: u64 = 1_000_000_000;

/// A flow from an endpoint to a peer, as it is told.
#[derive(Debug, Clone)]
struct Tale {
    from: &'static str,
    to: &'static str,
    remote: IpAddr,
    ports: (u16, u16),
    sent: u64,
    received: u64,
    retransmits: u32,
    verdict: Option<Verdict>,
}

fn address(ip: IpAddr) -> Address {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().into(),
        IpAddr::V6(ip) => ip.into(),
    }
}

fn identity(name: &str) -> Identity {
    let mut identity = Identity::nameless(EndpointKind::Pod);
    let (namespace, name) = name.split_once('/').unwrap_or(("default", name));
    identity.namespace = Some(namespace.into());
    identity.name = Some(name.into());
    identity.source = Some(IdentitySource::Cni);
    identity
}

impl Tale {
    fn of(from: &'static str, to: &'static str, port: u16, sent: u64) -> Self {
        Self {
            from,
            to,
            remote: "10.1.0.9".parse().unwrap(),
            ports: (40_000, port),
            sent,
            received: sent / 3,
            retransmits: 0,
            verdict: None,
        }
    }

    fn denied(self, policy: &str) -> Self {
        self.judged(Outcome::Denied, Some(policy), "no-rule-matched")
    }

    fn judged(self, outcome: Outcome, policy: Option<&str>, reason: &'static str) -> Self {
        let verdict = Verdict {
            outcome,
            direction: Direction::Egress,
            policy: policy.map(Into::into),
            kind: policy.map(|_| "NetworkPolicy"),
            rule: None,
            reason,
            peer_outcome: None,
        };
        Self {
            verdict: Some(verdict),
            ..self
        }
    }

    /// Its counters after so many reports, the last of which is made `now`.
    fn tell(&self, talks: &mut Talks, reports: u64, event: FlowEvent, now: &Moment) {
        let traffic = |bytes: u64| Traffic {
            packets: bytes / 1000,
            bytes,
        };
        let mut stats = FlowStats {
            first_ns: SECOND,
            initiator: Initiator::Local as u8,
            ..FlowStats::default()
        };
        stats.tx.traffic = traffic(self.sent * reports);
        stats.rx.traffic = traffic(self.received * reports);
        stats.tx.tcp_flags = tcp::SYN | tcp::ACK;
        stats.rx.tcp_flags = tcp::SYN | tcp::ACK;
        stats.tx.retransmits = self.retransmits * u32::try_from(reports).unwrap();
        // 1 ms and 10 µs, about.
        (stats.tx.rtt_samples, stats.tx.rtt_last) = (1, 3906);
        (stats.rx.rtt_samples, stats.rx.rtt_last) = (1, 39);
        let flow = Flow {
            key: FlowKey {
                ifindex: 7,
                local: address("10.1.0.5".parse().unwrap()),
                remote: address(self.remote),
                local_port: self.ports.0,
                remote_port: self.ports.1,
                protocol: 6,
                l3: 4,
                vlan: 0,
            },
            stats,
            last_ns: now.monotonic_ns,
        };
        let growth = Totals {
            tx: traffic(self.sent),
            rx: traffic(self.received),
        };
        talks.add(&Told {
            report: &Report {
                event,
                flow: &flow,
                before: None,
                growth,
            },
            endpoint: &Endpoint {
                interface: "veth12ab".to_owned(),
                ifindex: 7,
                identity: Arc::new(identity(self.from)),
            },
            remote: Some(&identity(self.to)),
            verdict: self.verdict.as_ref(),
            now,
        });
    }
}

fn moment(seconds: u64) -> Moment {
    let wall = "2026-11-22T10:00:00Z".parse::<jiff::Timestamp>().unwrap();
    let passed = jiff::SignedDuration::from_secs(i64::try_from(seconds).unwrap());
    Moment {
        monotonic_ns: (1 + seconds) * SECOND,
        wall: wall + passed,
    }
}

/// A view that was told the same for so many intervals of a second.
fn told(story: &[Tale], intervals: u64) -> View {
    let mut view = View::new(moment(0));
    for number in 1..=intervals {
        tell(&mut view, story, number);
    }
    view
}

fn tell(view: &mut View, story: &[Tale], number: u64) {
    let now = moment(number);
    let mut talks = Talks::default();
    let mut totals = Totals::default();
    for tale in story {
        tale.tell(&mut talks, number, FlowEvent::Update, &now);
        let sum = |bytes: u64| Traffic {
            packets: bytes / 1000 * number,
            bytes: bytes * number,
        };
        totals += Totals {
            tx: sum(tale.sent),
            rx: sum(tale.received),
        };
    }
    let of = |outcome| {
        let has = |tale: &&Tale| tale.verdict.as_ref().is_some_and(|v| v.outcome == outcome);
        story.iter().filter(has).count() as u64
    };
    let audited = story.iter().any(|tale| tale.verdict.is_some()).then(|| {
        Arc::new(Audited {
            violations: of(Outcome::Denied),
            undecided: of(Outcome::Undecided),
            ..Audited::default()
        })
    });
    view.take(Interval {
        talks,
        overview: Overview {
            interfaces: 4,
            flows: story.len(),
            totals,
            attributed: totals,
            audited,
            ..Overview::default()
        },
        now,
        seconds: 1.0,
    });
}

fn shop() -> Vec<Tale> {
    let mut lossy = Tale::of("shop/cart", "shop/redis", 6379, 4_300_000);
    lossy.retransmits = 2;
    let mut other = Tale::of("shop/web", "shop/redis", 6379, 2000).denied("shop/default-deny");
    other.ports.0 = 40_001;
    vec![
        lossy,
        Tale::of("shop/web", "shop/cart", 8080, 12_000),
        other,
        Tale::of("shop/web", "10.9.9.9", 443, 90).judged(Outcome::Undecided, None, "unknown-pod"),
    ]
}

fn press(view: &mut View, keys: &str) -> Then {
    let mut then = Then::Draw;
    for key in keys.split(' ') {
        use ratatui::crossterm::event::{KeyCode, KeyModifiers};
        let code = match key {
            "down" => KeyCode::Down,
            "up" => KeyCode::Up,
            "enter" => KeyCode::Enter,
            "esc" => KeyCode::Esc,
            "tab" => KeyCode::Tab,
            "end" => KeyCode::End,
            "space" => KeyCode::Char(' '),
            text => KeyCode::Char(text.chars().next().unwrap()),
        };
        let event = KeyEvent::new(code, KeyModifiers::NONE);
        if let Some(action) = keys::action(event, view.mode()) {
            then = view.act(action);
        }
    }
    then
}

fn picture(view: &mut View, look: Look, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let drawn = terminal.draw(|frame| {
        let area = frame.area();
        view.settle(draw::room(view, look, area));
        draw::draw(view, look, area, frame.buffer_mut());
    });
    drawn.unwrap();
    let buffer = terminal.backend().buffer();
    let mut text = String::new();
    for row in buffer.content.chunks(usize::from(width)) {
        let line: String = row.iter().map(ratatui::buffer::Cell::symbol).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Compares with a file, which `FLOWMON_WRITE_SNAPSHOTS=1` writes.
fn assert_snapshot(name: &str, picture: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/sinks/terminal/snapshots");
    let path = folder.join(name).with_extension("txt");
    if env::var_os("FLOWMON_WRITE_SNAPSHOTS").is_some() {
        fs::create_dir_all(folder).unwrap();
        fs::write(&path, picture).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        picture == expected,
        "{name} is\n{picture}\nand should be\n{expected}"
    );
}

#[test]
fn pictures_are_as_they_were() {
    for (width, height) in [(80, 24), (120, 40)] {
        let name = |what: &str| format!("{what}-{width}x{height}");
        let mut view = told(&shop(), 9);
        assert_snapshot(&name("overview"), &picture(&mut view, LOOK, width, height));
        press(&mut view, "?");
        assert_snapshot(&name("help"), &picture(&mut view, LOOK, width, height));
        press(&mut view, "? down enter");
        assert_snapshot(&name("talk"), &picture(&mut view, LOOK, width, height));
        press(&mut view, "down enter");
        assert_snapshot(&name("flow"), &picture(&mut view, LOOK, width, height));
    }
}

#[test]
fn without_colours_and_unicode_it_says_the_same() {
    let look = Look {
        has_colours: false,
        has_unicode: false,
    };
    let mut view = told(&shop(), 9);
    let text = picture(&mut view, look, 80, 24);
    assert!(text.is_ascii(), "{text}");
    assert_snapshot("ascii-80x24", &text);
}

#[test]
fn a_filter_works_while_it_is_typed() {
    let mut view = told(&shop(), 3);
    for (typed, seen, gone) in [
        ("/", "shop/redis", "nothing"),
        ("c a r t", "shop/cart", "443"),
        ("enter", "3 with", "443"),
        ("esc", "443", "with \""),
    ] {
        if typed == "enter" {
            // Every row about the cart, and none else.
            press(&mut view, "enter");
            let text = picture(&mut view, LOOK, 80, 24);
            assert!(text.contains("2 with \"cart\""), "{text}");
            continue;
        }
        press(&mut view, typed);
        let text = picture(&mut view, LOOK, 80, 24);
        assert!(text.contains(seen), "{typed}: {text}");
        assert!(!text.contains(gone), "{typed}: {text}");
    }
}

#[test]
fn a_pause_holds_rows_and_not_the_head() {
    let story = shop();
    let mut view = told(&story, 3);
    press(&mut view, "space");
    let before = picture(&mut view, LOOK, 80, 24);
    let more = [
        story,
        vec![Tale::of("late/one", "shop/cart", 1, 7).denied("late/deny")],
    ]
    .concat();
    tell(&mut view, &more, 4);
    let after = picture(&mut view, LOOK, 80, 24);
    let body = |text: &str| text.lines().skip(3).take(10).collect::<Vec<_>>().join("\n");
    assert_eq!(body(&before), body(&after));
    assert!(after.contains("PAUSED 10:00:03Z"), "{after}");
    assert!(after.contains("2 denied"), "{after}");
    assert!(after.contains("1 more since the pause"), "{after}");
    press(&mut view, "space");
    let resumed = picture(&mut view, LOOK, 80, 24);
    assert!(resumed.contains("late/one"), "{resumed}");
}

#[test]
fn the_newest_violation_is_on_top() {
    let old: Vec<Tale> = (0u16..30)
        .map(|port| Tale::of("shop/web", "shop/redis", 1000 + port, 10).denied("shop/deny"))
        .collect();
    let mut view = told(&old, 2);
    let new = Tale::of("shop/web", "shop/redis", 9999, 10).denied("shop/deny");
    tell(&mut view, &[old, vec![new]].concat(), 3);
    let text = picture(&mut view, LOOK, 80, 24);
    let violations = text.split("kinds of violations").nth(1).unwrap();
    assert!(text.contains("31 kinds of violations"), "{text}");
    assert!(
        violations.lines().nth(1).unwrap().contains("tcp/9999"),
        "{text}"
    );
    press(&mut view, "tab down down down");
    assert_eq!(view.pane, Pane::Violations);
    press(&mut view, "enter");
    assert!(matches!(view.page, Page::Talk(_)));
}

#[test]
fn a_violation_is_counted_once_however_often_it_is_told() {
    let view = told(&shop(), 50);
    let groups = view.shown().violations.newest_first();
    let counted: Vec<_> = groups
        .iter()
        .map(|group| (group.flows, group.bytes))
        .collect();
    // One denied, one undecided: the bytes of 50 reports of each.
    assert_eq!(counted, [(1, 50 * (2000 + 666)), (1, 50 * (90 + 30))]);
}

#[test]
fn retransmissions_are_added_up_from_their_growth() {
    let view = told(&shop(), 50);
    let mut rows = view.shown().talks.iter();
    let cart = rows.find(|(talk, _)| talk.endpoint == "shop/cart").unwrap();
    assert_eq!(cart.1.retransmits, 100);
}

#[test]
fn a_bypass_and_losses_are_in_the_head() {
    let mut view = told(&shop(), 1);
    let bypassed = |number: usize| Bypass {
        interface: format!("veth{number}\x1b[2J"),
        ifindex: 1,
        way: Way::Rx,
        ratio: 0.93,
        buffers: 7,
    };
    let mut overview = view.shown().overview.clone();
    overview.bypassed = (0..9).map(bypassed).collect();
    overview.attributed = Totals::default();
    overview.lost = 3;
    view.take(Interval {
        talks: Talks::default(),
        overview,
        now: moment(2),
        seconds: 1.0,
    });
    let text = picture(&mut view, LOOK, 80, 24);
    assert!(text.contains("0.00 % of"), "{text}");
    assert!(text.contains("  3 lost"), "{text}");
    assert!(text.contains("93.0 % passed"), "{text}");
    assert!(text.contains("! and 7 more"), "{text}");
}

#[test]
fn what_is_remembered_is_bounded_and_the_rest_is_added_up() {
    let mut view = View::new(moment(0));
    for number in 1..=3u64 {
        let mut talks = Talks::default();
        for port in 0..6000u16 {
            let mut tale = Tale::of("shop/web", "shop/redis", port + 1, 1000);
            tale.ports.0 = u16::try_from(number).unwrap();
            tale.tell(&mut talks, 1, FlowEvent::New, &moment(number));
        }
        view.take(Interval {
            talks,
            overview: Overview::default(),
            now: moment(number),
            seconds: 1.0,
        });
    }
    let state = view.shown();
    assert_eq!(state.talks.len(), 4096);
    assert!(state.flows.len() <= 16_384, "{}", state.flows.len());
    // What has a row and what has none is all there was.
    let rows: f64 = state.talks.values().map(|talk| talk.rates.both()).sum();
    let others = state.others.unwrap().both();
    assert!(
        (rows + others - 6000.0 * 1333.0).abs() < 1.0,
        "{rows} {others}"
    );
    assert!(picture(&mut view, LOOK, 80, 24).contains("others"));
}

#[test]
fn who_is_gone_goes() {
    let mut view = told(&shop(), 1);
    let mut talks = Talks::default();
    for tale in shop() {
        tale.tell(&mut talks, 2, FlowEvent::End, &moment(2));
    }
    for number in 2..100 {
        view.take(Interval {
            talks: std::mem::take(&mut talks),
            overview: Overview::default(),
            now: moment(number),
            seconds: 1.0,
        });
    }
    assert!(view.shown().talks.is_empty() && view.shown().flows.is_empty());
}

#[test]
fn q_is_the_end() {
    let mut view = told(&shop(), 1);
    assert_eq!(press(&mut view, "q"), Then::Quit);
    assert_eq!(press(&mut view, "/ q"), Then::Draw);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is pressed and whatever size the terminal has: no panic, and no line too wide.
    #[test]
    fn any_keys_in_any_size(
        pressed in prop::collection::vec(
            prop::sample::select(vec![
                "down", "up", "enter", "esc", "tab", "end", "space", "/", "?", "s", "S", "r",
                "g", "G", "x", "!",
            ]),
            0..40,
        ),
        width in 1u16..150,
        height in 1u16..60,
    ) {
        let story = shop();
        let mut view = told(&story, 2);
        for (number, keys) in pressed.chunks(4).enumerate() {
            press(&mut view, &keys.join(" "));
            tell(&mut view, &story, 3 + number as u64);
            let text = picture(&mut view, LOOK, width, height);
            prop_assert!(text.lines().all(|line| columns(line) <= usize::from(width)));
        }
    }
}
