//! What holds for the whole, always in sight: how much there is, and how much of it is known.

use ratatui::text::{Line, Span};

use super::Lines;
use crate::model::{Audited, Outcome, Way};
use crate::sinks::{
    Overview, escaped,
    terminal::{
        look::{BOLD, DIM, Look, SELECTED},
        state::State,
        view::View,
    },
    units::{counted, human},
};

/// Lines about what is wrong with the watch itself, at most.
const MOST: usize = 3;

pub(super) fn lines(view: &View, look: Look, width: usize) -> Lines {
    let state = view.live();
    let mut lines = vec![summary(view, look, width), coverage(state, look)];
    let mut wrong = wrong(&state.overview, look);
    if wrong.len() > MOST {
        let more = wrong.len() + 1 - MOST;
        wrong.truncate(MOST - 1);
        wrong.push(Line::styled(format!("! and {more} more"), look.alarm()));
    }
    lines.extend(wrong);
    lines
}

fn summary(view: &View, look: Look, width: usize) -> Line<'static> {
    let state = view.live();
    let mut spans = Vec::new();
    let time = state.now.wall.strftime("%H:%M:%SZ");
    if view.is_paused() {
        let since = view.shown().now.wall.strftime("%H:%M:%SZ");
        spans.push(Span::styled(format!(" PAUSED {since} "), SELECTED));
    } else {
        spans.push(Span::styled(format!("flowmon {time:.0}"), BOLD));
    }
    let amounts = [
        format!("  sent {:>6}B/s", human(state.rates.sent)),
        format!("  received {:>6}B/s", human(state.rates.received)),
    ];
    spans.extend(amounts.map(Span::raw));
    let Overview {
        interfaces, flows, ..
    } = state.overview;
    spans.push(Span::raw(format!(
        "  {}  {}",
        counted(flows as u64, "flow"),
        counted(interfaces as u64, "interface"),
    )));
    let used: usize = spans.iter().map(Span::width).sum();
    let room = width.saturating_sub(used + 2).min(60);
    if room >= 8 {
        let line = look.sparkline(state.history.latest(room), room);
        spans.push(Span::raw(format!("  {line}")));
    }
    Line::from(spans)
}

fn coverage(state: &State, look: Look) -> Line<'static> {
    let overview = &state.overview;
    let all = overview.totals.tx.packets + overview.totals.rx.packets;
    let told = overview.attributed.tx.packets + overview.attributed.rx.packets;
    let missing = all.saturating_sub(told);
    let mut spans = vec![
        Span::raw(format!("{} of {all} packets in flows", percent(told, all))),
        number(missing, "in none", look),
        number(overview.lost, "lost", look),
    ];
    if let Some(audited) = &overview.audited {
        spans.extend(verdicts(audited, look));
    }
    Line::from(spans)
}

fn number(count: u64, what: &str, look: Look) -> Span<'static> {
    let text = format!("  {count} {what}");
    match count {
        0 => Span::styled(text, DIM),
        _ => Span::styled(text, look.alarm()),
    }
}

fn verdicts(audited: &Audited, look: Look) -> [Span<'static>; 2] {
    let text = |count: u64, outcome: Outcome| format!("  {count} {}", outcome.label());
    let denied = text(audited.violations, Outcome::Denied);
    let undecided = text(audited.undecided, Outcome::Undecided);
    let style = |count, style| if count == 0 { DIM } else { style };
    [
        Span::styled(denied, style(audited.violations, look.alarm())),
        Span::styled(undecided, style(audited.undecided, look.warning())),
    ]
}

/// Rounded down: 100 % is all.
fn percent(part: u64, all: u64) -> String {
    if part >= all {
        return "100 %".to_owned();
    }
    let hundredths = u128::from(part) * 10_000 / u128::from(all);
    format!("{}.{:02} %", hundredths / 100, hundredths % 100)
}

fn wrong(overview: &Overview, look: Look) -> Lines {
    let mut lines = Vec::new();
    for bypass in &overview.bypassed {
        let way = match bypass.way {
            Way::Tx => "sent",
            Way::Rx => "received",
        };
        let text = format!(
            "! bypass: of what {} {way}, {:.1} % passed flowmon",
            look.plain(&escaped(&bypass.interface)),
            bypass.ratio * 100.0
        );
        lines.push(Line::styled(text, look.alarm()));
    }
    for finding in &overview.findings {
        let mut text = String::new();
        let interface = look.plain(&escaped(&finding.interface));
        crate::sinks::findings::lines(&mut text, finding, &interface);
        let found = text
            .lines()
            .map(|line| Line::styled(line.to_owned(), look.warning()));
        lines.extend(found);
    }
    if let Some(audited) = overview.audited.as_deref()
        && audited.policy_reload_failures > 0
    {
        let failures = counted(audited.policy_reload_failures, "time");
        let text = format!("! new policies could not be used, {failures}: the last ones stay");
        lines.push(Line::styled(text, look.alarm()));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::percent;

    #[test]
    fn only_all_is_all() {
        assert_eq!(percent(0, 0), "100 %");
        assert_eq!(percent(7, 7), "100 %");
        assert_eq!(percent(999_999, 1_000_000), "99.99 %");
        assert_eq!(percent(u64::MAX - 1, u64::MAX), "99.99 %");
        assert_eq!(percent(0, 5), "0.00 %");
    }
}
