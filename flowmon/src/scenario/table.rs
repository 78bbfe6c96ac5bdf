//! A table of who reaches whom:
//!
//! ```yaml
//! - port: 6379
//!   table: |
//!     from\to     shop/redis  shop/cart  internet
//!     shop/cart   .           -          X
//!     everyone    X           X          -
//! ```

use std::sync::Arc;

use super::{
    Word,
    expectation::{self, Stated, What},
};
use crate::policy::{
    Outcome, Place,
    document::{Cursor, Findings},
};

/// What the first line begins with.
const CORNER: &str = r"from\to";

/// Reads it; `source` is the lines of the file.
pub(super) fn read(
    file: &Arc<str>,
    source: &[&str],
    at: &Cursor<'_, '_>,
    ports: &[Word],
    findings: &mut Findings<'_>,
) -> Vec<Stated> {
    let Some(table) = at.text(findings) else {
        return Vec::new();
    };
    let begin = at.place(file);
    // The place is that of the first line with something in it.
    let lines = table.lines().skip_while(|line| line.trim().is_empty());
    let mut rows = (begin.line..)
        .zip(lines)
        .map(|(line, text)| words(&place_of_line(&begin, line, text, source), text))
        .filter(|row| row.first().is_some_and(|word| !word.text.starts_with('#')));
    let header = rows.next().unwrap_or_default();
    let columns = match header.split_first() {
        Some((corner, columns)) if corner.text == CORNER && !columns.is_empty() => columns,
        _ => {
            let says = format_args!(
                "after `|`, the first line of a table is `{CORNER}` and to whom, the others from \
                 whom and what becomes of it at each: `.`, `X`, `?`, or `-` for nothing expected"
            );
            findings.error(at, "invalid-table", says);
            return Vec::new();
        }
    };
    let mut stated = Vec::new();
    for row in rows {
        let Some((from, cells)) = row.split_first() else {
            continue;
        };
        if cells.len() != columns.len() {
            let (is, wanted) = (cells.len(), columns.len());
            let says = format!("this line has {is} cells, for {wanted} to whom");
            findings.error_at(from.place.clone(), "invalid-table", says);
            continue;
        }
        for (to, cell) in columns.iter().zip(cells) {
            let outcome = match &*cell.text {
                "-" => continue,
                "." => Some(Outcome::Allowed),
                "X" => Some(Outcome::Denied),
                "?" => Some(Outcome::Undecided),
                text => expectation::outcome(text),
            };
            let Some(outcome) = outcome else {
                let says = format!(
                    "`{}`: expected `.` (allowed), `X` (denied), `?` (undecided), or `-` for nothing",
                    cell.text
                );
                findings.error_at(cell.place.clone(), "invalid-table", says);
                continue;
            };
            stated.push(Stated {
                from: vec![from.clone()],
                to: vec![Word {
                    text: to.text.clone(),
                    place: to.place.clone(),
                }],
                ports: ports.to_vec(),
                what: What::Each(outcome),
                because: None,
            });
        }
    }
    if stated.is_empty() && findings.is_valid() {
        findings.error(at, "invalid-table", "nothing is expected in this table");
    }
    stated
}

/// Where a line of it begins. In what is not written after `|`, lines are not those of the file.
fn place_of_line(begin: &Place, line: u32, text: &str, source: &[&str]) -> Place {
    let before = |number: u32| usize::try_from(number).unwrap_or(0).saturating_sub(1);
    let written = source
        .get(before(line))
        .and_then(|it| it.get(before(begin.column)..));
    if written.is_some_and(|written| written.trim_end() == text.trim_end()) {
        Place {
            line,
            ..begin.clone()
        }
    } else {
        begin.clone()
    }
}

/// The words of a line that begins here, with their places.
fn words(begin: &Place, line: &str) -> Vec<Word> {
    let place = |word: &str| {
        let offset = word.as_ptr().addr().saturating_sub(line.as_ptr().addr());
        let offset = u32::try_from(offset).unwrap_or(0);
        Place {
            column: begin.column.saturating_add(offset),
            ..begin.clone()
        }
    };
    let words = line.split_whitespace();
    words
        .map(|word| Word {
            text: word.to_owned(),
            place: place(word),
        })
        .collect()
}
