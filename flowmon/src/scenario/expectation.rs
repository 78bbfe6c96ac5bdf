//! What is expected, as it is written: cells, "only these", and tables.

use std::sync::Arc;

use super::{Word, table};
use crate::policy::{
    Outcome,
    document::{Cursor, Findings},
};

/// Everyone of the cast and outside.
pub(super) const EVERYONE: &str = "everyone";

/// Of everyone on one side to everyone on the other, at all these ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stated {
    pub(super) from: Vec<Word>,
    pub(super) to: Vec<Word>,
    pub(super) ports: Vec<Word>,
    pub(super) what: What,
    pub(super) because: Option<String>,
}

/// What is to become of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    Each(Outcome),
    /// These are allowed, and whoever else there is at this end is denied. Where it is said.
    Only(End, Word),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    From,
    To,
}

const OUTCOMES: [Outcome; 3] = [Outcome::Allowed, Outcome::Denied, Outcome::Undecided];

/// The outcome that is called so.
pub(super) fn outcome(text: &str) -> Option<Outcome> {
    OUTCOMES.into_iter().find(|it| it.label() == text)
}

/// Reads one entry of `expect`; `source` is the lines of the file.
pub(super) fn read(
    file: &Arc<str>,
    source: &[&str],
    at: &Cursor<'_, '_>,
    stated: &mut Vec<Stated>,
    findings: &mut Findings<'_>,
) {
    let mut fields = at.fields(findings);
    let ports = fields.require("port", findings);
    let ports = ports.map_or_else(Vec::new, |at| words(file, &at, findings));
    if let Some(at) = fields.get("table") {
        fields.end(findings);
        stated.extend(table::read(file, source, &at, &ports, findings));
        return;
    }
    let only = fields.get("only");
    let end = only.as_ref().and_then(|at| only_end(file, at, findings));
    let mut side = |name, end_of_it, findings: &mut Findings<'_>| {
        let side = fields.require(name, findings);
        side.map_or_else(Vec::new, |at| match &end {
            // Nobody: all are denied.
            Some(What::Only(end, _)) if *end == end_of_it => some_words(file, &at, findings),
            _ => words(file, &at, findings),
        })
    };
    let from = side("from", End::From, findings);
    let to = side("to", End::To, findings);
    let (expect, because) = if only.is_none() {
        let because = fields.get("because").and_then(|at| at.text(findings));
        (fields.get("expect"), because)
    } else {
        (None, None)
    };
    fields.end(findings);
    if only.is_none() && expect.is_none() {
        let says = "what is expected? One of `expect`, `only` and `table` is missing";
        findings.error(at, "missing-field", says);
    }
    let what = expect.map_or(end, |at| {
        let text = at.text(findings)?;
        let found = outcome(text);
        if found.is_none() {
            let says = format_args!("`{text}`: expected allowed, denied or undecided");
            findings.error(&at, "invalid-action", says);
        }
        found.map(What::Each)
    });
    stated.extend(what.map(|what| Stated {
        from,
        to,
        ports,
        what,
        because: because.map(str::to_owned),
    }));
}

fn only_end(file: &Arc<str>, at: &Cursor<'_, '_>, findings: &mut Findings<'_>) -> Option<What> {
    let end = match at.text(findings)? {
        "from" => End::From,
        "to" => End::To,
        other => {
            let says = format_args!("`{other}`: only those who are named in `from`, or in `to`?");
            findings.error(at, "invalid-action", says);
            return None;
        }
    };
    Some(What::Only(end, word(file, at, findings)?))
}

/// One word or several.
pub(super) fn words(
    file: &Arc<str>,
    at: &Cursor<'_, '_>,
    findings: &mut Findings<'_>,
) -> Vec<Word> {
    let words = some_words(file, at, findings);
    if words.is_empty() {
        findings.error(at, "list-length", "there is nothing in this list");
    }
    words
}

fn some_words(file: &Arc<str>, at: &Cursor<'_, '_>, findings: &mut Findings<'_>) -> Vec<Word> {
    at.one_or_more(findings)
        .iter()
        .filter_map(|at| word(file, at, findings))
        .collect()
}

/// A word.
pub(super) fn word(
    file: &Arc<str>,
    at: &Cursor<'_, '_>,
    findings: &mut Findings<'_>,
) -> Option<Word> {
    let text = at.word(findings)?;
    let place = at.place(file);
    Some(Word { text, place })
}
