//! Reading a scenario, strictly: what nobody knows is an error, with its place.

use std::sync::Arc;

use super::{Expected, Scenario, Word, cast};
use crate::policy::{
    Outcome, Problem,
    document::{self, Cursor, Findings},
};

/// Cells of all expectations: more is a mistake.
const MOST_EXPECTED: usize = 100_000;

/// Reads one file.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read(file: &Arc<str>, text: &str) -> Result<Scenario, Vec<Problem>> {
    document::alone(file, text, |whole, findings| {
        scenario(file, whole, findings)
    })
}

fn scenario(file: &Arc<str>, whole: &Cursor<'_, '_>, findings: &mut Findings<'_>) -> Scenario {
    let mut fields = whole.fields(findings);
    let policies = fields.require("policies", findings);
    let policies = policies.map_or_else(Vec::new, |at| words(file, &at, findings));
    let inventory = fields.get("inventory");
    let namespaces = fields.get("namespaces");
    let pods = fields.get("pods");
    if let Some(at) = &inventory
        && (namespaces.is_some() || pods.is_some())
    {
        let says = "the cast is either in an `inventory` or in `namespaces` and `pods` here";
        findings.error(at, "not-exactly-one", says);
    } else if inventory.is_none() && pods.is_none() {
        let says = "there is nobody: say `pods`, or an `inventory`";
        findings.error(whole, "missing-field", says);
    }
    let inventory = inventory.and_then(|at| word(file, &at, findings));
    let outside = fields.get("outside");
    let (cast, outside) = cast::read(
        namespaces.as_ref(),
        pods.as_ref(),
        outside.as_ref(),
        findings,
    );
    let mut expected = Vec::new();
    if let Some(at) = fields.require("expect", findings) {
        for item in at.list(findings) {
            expectation(file, &item, &mut expected, findings);
        }
        if expected.is_empty() {
            findings.error(&at, "list-length", "nothing is expected: this can't fail");
        }
    }
    fields.end(findings);
    Scenario {
        policies,
        inventory,
        cast,
        outside,
        expected,
    }
}

/// One, or of lists every pair at every port.
fn expectation(
    file: &Arc<str>,
    at: &Cursor<'_, '_>,
    expected: &mut Vec<Expected>,
    findings: &mut Findings<'_>,
) {
    let mut fields = at.fields(findings);
    let mut part = |name, findings: &mut Findings<'_>| {
        let part = fields.require(name, findings);
        part.map_or_else(Vec::new, |at| words(file, &at, findings))
    };
    let from = part("from", findings);
    let to = part("to", findings);
    let ports = part("port", findings);
    let outcome = fields.require("expect", findings).and_then(|at| {
        let text = at.text(findings)?;
        let all = [Outcome::Allowed, Outcome::Denied, Outcome::Undecided];
        let found = all.into_iter().find(|outcome| outcome.label() == text);
        if found.is_none() {
            let says = format_args!("`{text}`: expected allowed, denied or undecided");
            findings.error(&at, "invalid-action", says);
        }
        found
    });
    let because = fields.get("because").and_then(|at| at.text(findings));
    fields.end(findings);
    let Some(outcome) = outcome else { return };
    let cells = from
        .len()
        .saturating_mul(to.len())
        .saturating_mul(ports.len());
    if expected.len().saturating_add(cells) > MOST_EXPECTED {
        let says = format_args!("more than {MOST_EXPECTED} cells are expected");
        findings.error(at, "list-length", says);
        return;
    }
    for from in &from {
        for to in &to {
            expected.extend(ports.iter().map(|port| Expected {
                from: from.clone(),
                to: to.clone(),
                port: port.clone(),
                outcome,
                because: because.map(str::to_owned),
            }));
        }
    }
}

fn words(file: &Arc<str>, at: &Cursor<'_, '_>, findings: &mut Findings<'_>) -> Vec<Word> {
    let words: Vec<Word> = at
        .one_or_more(findings)
        .iter()
        .filter_map(|at| word(file, at, findings))
        .collect();
    if words.is_empty() {
        findings.error(at, "list-length", "there is nothing in this list");
    }
    words
}

fn word(file: &Arc<str>, at: &Cursor<'_, '_>, findings: &mut Findings<'_>) -> Option<Word> {
    let text = at.word(findings)?;
    let place = at.place(file);
    Some(Word { text, place })
}
