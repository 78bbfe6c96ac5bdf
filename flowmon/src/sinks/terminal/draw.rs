//! The picture of a view. Pure: lines of text into a buffer.

mod detail;
mod header;
mod help;
mod overview;

use ratatui::{buffer::Buffer, layout::Rect, style::Style, text::Line};

use super::{
    look::{DIM, Look},
    view::{Page, Room, View},
};
use crate::{
    model::Direction,
    sinks::{talks::Talk, units::human},
};

/// Less than this shows nothing useful.
const SMALLEST: (u16, u16) = (60, 12);

/// Lines from the top to the bottom.
type Lines = Vec<Line<'static>>;

/// Draws all of it.
pub(super) fn draw(view: &View, look: Look, area: Rect, buffer: &mut Buffer) {
    let (width, height) = (usize::from(area.width), usize::from(area.height));
    let lines = if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        let (columns, rows) = SMALLEST;
        vec![Line::raw(format!("flowmon needs {columns} x {rows}"))]
    } else {
        picture(view, look, width, height)
    };
    for (row, line) in area.rows().zip(&lines) {
        // A row that is selected is so to its end.
        buffer.set_style(row, line.style);
        buffer.set_line(row.x, row.y, line, row.width);
    }
}

fn picture(view: &View, look: Look, width: usize, height: usize) -> Lines {
    let mut lines = header::lines(view, look, width);
    let left = height.saturating_sub(lines.len() + 1);
    let mut body = if view.shows_help {
        help::lines()
    } else {
        match &view.page {
            Page::Overview => overview::lines(view, look, width, left),
            Page::Talk(talk) => detail::talk(view, look, talk, width, left),
            Page::Flow(talk, key) => detail::flow(view, look, talk, key),
        }
    };
    body.resize(left, Line::default());
    lines.extend(body);
    lines.push(footer(view, look, width));
    lines
}

/// Rows that there is room for in an area.
pub(super) fn room(view: &View, look: Look, area: Rect) -> Room {
    let header = header::lines(view, look, usize::from(area.width)).len();
    let left = usize::from(area.height).saturating_sub(header + 1);
    let (talks, violations) = overview::room(view, left);
    Room {
        talks,
        violations,
        flows: left.saturating_sub(detail::ABOVE),
    }
}

fn footer(view: &View, look: Look, width: usize) -> Line<'static> {
    if view.is_typing {
        let text = look.plain(view.filter.text());
        return Line::raw(format!(
            "/{text}_   enter keeps it, esc drops it; !word excludes"
        ));
    }
    if let Some(message) = &view.message {
        let text = look.plain(message.trim());
        return Line::styled(
            look.fitted(&text, width).trim_end().to_owned(),
            look.warning(),
        );
    }
    let keys = match (&view.page, view.shows_help) {
        (_, true) => "any key goes back   q quit",
        (Page::Overview, _) => {
            "q quit  ? keys  / filter  s sort  space pause  enter look into  tab violations"
        }
        (Page::Talk(_), _) => "q quit  ? keys  space pause  enter look into a flow  esc back",
        (Page::Flow(..), _) => "q quit  ? keys  space pause  up/down other flows  esc back",
    };
    Line::styled(keys, DIM)
}

/// `tcp/443`, `icmp`
fn service(talk: &Talk) -> String {
    let port = talk
        .port
        .map_or_else(String::new, |port| format!("/{port}"));
    format!("{}{port}", talk.protocol)
}

/// Which way it was opened.
const fn arrow(direction: Direction, look: Look) -> &'static str {
    match direction {
        Direction::Egress => look.arrow(true),
        Direction::Ingress => look.arrow(false),
        Direction::Unknown => "?",
    }
}

/// Who opened it, and to whom.
fn parties(talk: &Talk) -> (&str, &str) {
    match talk.direction {
        Direction::Ingress => (&talk.peer, &talk.endpoint),
        Direction::Egress | Direction::Unknown => (&talk.endpoint, &talk.peer),
    }
}

/// Nothing for none.
fn rate(bytes: f64) -> String {
    if bytes > 0.0 {
        human(bytes)
    } else {
        "-".to_owned()
    }
}

fn style_if(condition: bool, style: Style) -> Style {
    if condition { style } else { Style::new() }
}
