//! Who talks to whom, and below it what policies deny.

use std::sync::Arc;

use ratatui::{
    style::{Modifier, Style},
    text::{Line, Span},
};

use super::{Lines, arrow, parties, rate, service, style_if};
use crate::{
    model::{Outcome, Verdict},
    sinks::{
        talks::Talk,
        terminal::{
            look::{BOLD, DIM, Look, SELECTED},
            state::TalkNow,
            verdict,
            view::{Pane, Sort, View},
            violations::Group,
        },
        units::{counted, duration, human},
    },
};

/// Lines of a group of violations.
const GROUP: usize = 2;

/// Rows for talks, and for groups of violations, in so many lines.
pub(super) fn room(view: &View, lines: usize) -> (usize, usize) {
    // Titles of both, and names of the columns.
    let left = lines.saturating_sub(3);
    let share = match view.pane {
        Pane::Talks => left / 3,
        Pane::Violations => left * 2 / 3,
    };
    let groups = view.groups().len().min(share / GROUP);
    let others = usize::from(view.shown().others.is_some());
    (left.saturating_sub(groups * GROUP + others), groups)
}

pub(super) fn lines(view: &View, look: Look, width: usize, height: usize) -> Lines {
    let (talks, groups) = room(view, height);
    let mut lines = talk_lines(view, look, width, talks);
    lines.extend(group_lines(view, look, width, groups));
    lines
}

fn talk_lines(view: &View, look: Look, width: usize, room: usize) -> Lines {
    let columns = Columns::of(width);
    let rows = view.talk_rows();
    let all = view.shown().talks.len();
    let mut title = vec![Span::styled(counted(all as u64, "talk"), BOLD)];
    if !view.filter.is_empty() {
        let text = look.plain(view.filter.text());
        title.push(Span::styled(
            format!(", {} with \"{text}\"", rows.len()),
            BOLD,
        ));
    }
    let order = if view.is_reversed { ", reversed" } else { "" };
    title.push(Span::raw(format!(" by {}{order}", view.sort.label())));
    let top = view.talks.top;
    if rows.len() > room {
        let last = rows.len().min(top + room);
        title.push(Span::raw(format!(", {} to {last}", top + 1)));
    }
    let mut lines = vec![look.rule(title, width), columns.names(view.sort, look)];
    for (talk, now) in rows.iter().skip(top).take(room) {
        let mut line = columns.row(talk, now, look);
        if view.pane == Pane::Talks && view.talks.is_on(talk) {
            line = line.style(SELECTED);
        }
        lines.push(line);
    }
    lines.resize(2 + room, Line::default());
    if let Some(others) = view.shown().others {
        let text = format!(
            "  others, more than are told apart: sent {}B/s, received {}B/s",
            human(others.sent),
            human(others.received)
        );
        lines.push(Line::styled(text, look.warning()));
    }
    lines
}

/// Widths of the columns; those of 0 are left out.
struct Columns {
    name: usize,
    flows: usize,
    container: usize,
    retransmits: usize,
    spark: usize,
}

impl Columns {
    fn of(width: usize) -> Self {
        let is_wide = width >= 100;
        let is_narrow = width < 76;
        let flows = if is_wide { 7 } else { 0 };
        let container = if is_narrow { 0 } else { 7 };
        let retransmits = if is_narrow { 0 } else { 5 };
        // Mark, arrow, service, two rates, round trips.
        let fixed = 1 + 3 + 11 + 7 + 7 + 7;
        let left = width.saturating_sub(fixed + flows + container + retransmits);
        let spark = if is_narrow {
            0
        } else {
            (left / 4).clamp(5, 40)
        };
        let name = left.saturating_sub(if spark > 0 { spark + 1 } else { 0 }) / 2;
        Self {
            name,
            flows,
            container,
            retransmits,
            spark,
        }
    }

    fn names(&self, sort: Sort, look: Look) -> Line<'static> {
        let name = self.name;
        let cells = [
            (format!(" {:<name$}", "ENDPOINT"), sort == Sort::Endpoint),
            (format!("   {:<name$}", "PEER"), sort == Sort::Peer),
            (format!(" {:<10}", "PORT"), false),
            (right("FLOWS", self.flows), false),
            (right("SENT/s", 7), matches!(sort, Sort::Rate | Sort::Sent)),
            (
                right("RECV/s", 7),
                matches!(sort, Sort::Rate | Sort::Received),
            ),
            (right("RTT", 7), sort == Sort::Network),
            (right("CONT", self.container), sort == Sort::Container),
            (right("RETX", self.retransmits), sort == Sort::Retransmits),
        ];
        let mut spans = Vec::new();
        for (text, is_sorted) in cells {
            let blank = text.len() - text.trim_start().len();
            let (before, name) = text.split_at(blank);
            spans.push(Span::raw(before.to_owned()));
            let style = style_if(is_sorted, UNDERLINED).patch(BOLD);
            let shown = name.trim_end();
            spans.push(Span::styled(shown.to_owned(), style));
            spans.push(Span::raw(" ".repeat(name.len() - shown.len())));
        }
        if self.spark > 0 {
            spans.push(Span::raw(format!(" {}", look.fitted("RATE", self.spark))));
        }
        Line::from(spans)
    }

    fn row(&self, talk: &Talk, now: &TalkNow, look: Look) -> Line<'static> {
        let (mark, style) = mark(now, look);
        let trip = |time: Option<f64>| time.map_or_else(String::new, duration);
        let more = if now.has_more { "+" } else { "" };
        let text = [
            look.fitted(&talk.endpoint, self.name),
            format!(" {} ", arrow(talk.direction, look)),
            look.fitted(&talk.peer, self.name),
            format!(" {}", look.fitted(&service(talk), 10)),
            right(&format!("{}{more}", now.flows), self.flows),
            right(&rate(now.rates.sent), 7),
            right(&rate(now.rates.received), 7),
            right(&trip(now.network), 7),
            right(&trip(now.container), self.container),
        ];
        let quiet = style_if(now.idle > 0, DIM);
        let retransmits = match now.retransmits {
            0 => "-".to_owned(),
            count => format!("{}{more}", human(count as f64)),
        };
        let spark = look.sparkline(now.history.latest(self.spark), self.spark);
        Line::from(vec![
            Span::styled(mark, style),
            Span::styled(text.concat(), quiet),
            Span::styled(right(&retransmits, self.retransmits), quiet),
            Span::styled(format!(" {spark}"), quiet),
        ])
    }
}

const UNDERLINED: Style = Style::new().add_modifier(Modifier::UNDERLINED);

fn right(text: &str, width: usize) -> String {
    if width == 0 {
        return String::new();
    }
    format!(" {text:>width$}", width = width - 1)
}

fn mark(now: &TalkNow, look: Look) -> (&'static str, Style) {
    match (now.outcome, now.trouble) {
        (Some(Outcome::Denied), _) => ("!", look.alarm()),
        (Some(Outcome::Undecided), _) => ("?", look.warning()),
        (_, Some(_)) => ("*", look.warning()),
        _ => (" ", Style::new()),
    }
}

fn group_lines(view: &View, look: Look, width: usize, room: usize) -> Lines {
    let shown = &view.shown().violations;
    let groups = view.groups();
    let denied = shown.count(Outcome::Denied);
    let undecided = shown.count(Outcome::Undecided);
    let mut title = Vec::new();
    if view.live().overview.audited.is_none() && !shown.is_judged {
        title.push(Span::styled("No policies: nothing is judged", DIM));
    } else {
        let style = if denied == 0 { BOLD } else { look.alarm() };
        let kinds = match denied {
            0 => "No violations".to_owned(),
            1 => "1 kind of violation".to_owned(),
            more => format!("{more} kinds of violations"),
        };
        title.push(Span::styled(kinds, style));
        if undecided > 0 {
            title.push(Span::styled(
                format!(", {undecided} undecided"),
                look.warning(),
            ));
        }
        let top = view.violations.top;
        let below = groups.len().saturating_sub(top + room);
        for (count, place) in [(top, "above"), (below, "below")] {
            if count > 0 {
                title.push(Span::raw(format!(", {count} {place}")));
            }
        }
        if shown.forgotten() > 0 {
            title.push(Span::raw(format!(", {} forgotten", shown.forgotten())));
        }
        if view.is_paused() {
            let live = view.live().violations.count(Outcome::Denied);
            if live > denied {
                let text = format!(", {} more since the pause", live - denied);
                title.push(Span::styled(text, look.alarm()));
            }
        }
    }
    let mut lines = vec![look.rule(title, width)];
    for group in groups.iter().skip(view.violations.top).take(room) {
        let is_on = view.pane == Pane::Violations && view.violations.is_on(&group.number);
        lines.extend(group_of(group, is_on, look, width));
    }
    lines
}

fn group_of(group: &Group, is_on: bool, look: Look, width: usize) -> [Line<'static>; GROUP] {
    let Verdict { outcome, .. } = group.verdict;
    let (mark, style) = match outcome {
        Outcome::Denied => ("!", look.alarm()),
        _ => ("?", look.warning()),
    };
    let talk: &Arc<Talk> = &group.talk;
    let (from, to) = parties(talk);
    let amount = format!(
        "{:>11} {:>8}",
        counted(group.flows, "flow"),
        format!("{}B", human(group.bytes as f64))
    );
    let name = width.saturating_sub(2 + 9 + 1 + 3 + 11 + 21) / 2;
    let head = Line::from(vec![
        Span::styled(format!("{mark} "), style),
        Span::raw(format!("{:.0} ", group.last.strftime("%H:%M:%SZ"))),
        Span::raw(look.fitted(from, name)),
        Span::raw(format!(" {} ", look.arrow(true))),
        Span::raw(look.fitted(to, name)),
        Span::raw(format!(" {}", look.fitted(&service(talk), 10))),
        Span::raw(amount),
    ]);
    let why = verdict::sentence(&group.verdict);
    let why = Line::styled(format!("  {}", look.plain(&why)), style_if(!is_on, DIM));
    if is_on {
        [head.style(SELECTED), why]
    } else {
        [head, why]
    }
}
