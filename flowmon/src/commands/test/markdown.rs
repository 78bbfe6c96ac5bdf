//! What became of expectations and mutants as Markdown, for the summary of a step in CI.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{
    Mark, Told,
    mutate::{self, Summary},
    print::{title, why},
};
use crate::{
    scenario::{Fate, Mutant},
    sinks::{counted, escaped},
};

/// What is told in full: a summary may have 1 MiB (GitHub).
const TOLD: usize = 50;

/// Of expectations.
pub(super) fn expectations(results: &[Told]) -> String {
    let failed = || results.iter().filter(|told| told.is_failed());
    let all = counted(results.len() as u64, "expectation");
    let mut text = match failed().count() {
        0 => format!("### Policies do what is expected: {all}\n"),
        count => format!("### Policies: {count} of {all} not met\n\n"),
    };
    if failed().next().is_some() {
        text.push_str("| | expected | is | where |\n|---|---|---|---|\n");
    }
    for told in failed().take(TOLD) {
        let expected = &told.cell.expected;
        let place = &expected.from.place;
        row(
            &mut text,
            &[
                &code(&title(&told.cell)),
                expected.outcome.label(),
                told.judged.outcome.label(),
                &code(&format!("{}:{}", place.file, place.line)),
            ],
        );
    }
    for told in failed().take(TOLD) {
        let failure = match told.mark() {
            Mark::Failed(why) | Mark::Broken(why) => why,
            Mark::Met | Mark::Untried(_) => continue,
        };
        let summary = format!("{}: {failure}", title(&told.cell));
        let _infallible = writeln!(
            text,
            "\n<details><summary>{}</summary>\n",
            html(&escaped(&summary))
        );
        for line in why(told).lines() {
            // Indented it is code, whatever is in it.
            let _infallible = writeln!(text, "    {}", escaped(line));
        }
        text.push_str("\n</details>\n");
    }
    more(&mut text, failed().count());
    let is_untried = |told: &&Told| matches!(told.mark(), Mark::Untried(_));
    if let untried @ 1.. = results.iter().filter(is_untried).count() {
        let _infallible = writeln!(
            text,
            "\n{} judged by the policies alone, as no traffic could show {}",
            counted(untried as u64, "expectation"),
            if untried == 1 { "it" } else { "them" }
        );
    }
    text.push_str("\n| scenario | expectations | not met |\n|---|---|---|\n");
    let mut scenarios: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for told in results {
        let file = &*told.cell.expected.from.place.file;
        let (all, failed) = scenarios.entry(file).or_default();
        *all += 1;
        *failed += usize::from(told.is_failed());
    }
    for (file, (all, failed)) in scenarios {
        row(
            &mut text,
            &[&code(file), &all.to_string(), &failed.to_string()],
        );
    }
    text
}

/// Of mutants.
pub(super) fn mutants(all: &[(Mutant, Fate)], summary: &Summary) -> String {
    let mut text = format!("### {}\n\n", summary.words());
    let survivors = || {
        all.iter().filter_map(|(mutant, fate)| match fate {
            Fate::Survives(difference) => Some((mutant, difference)),
            Fate::Noticed(_) | Fate::MakesNoDifference => None,
        })
    };
    if survivors().next().is_some() {
        text.push_str(
            "| change that no expectation notices | difference | where |\n|---|---|---|\n",
        );
    }
    for (mutant, difference) in survivors().take(TOLD) {
        let place = &mutant.place;
        row(
            &mut text,
            &[
                &code(&mutate::title(mutant)),
                &code(&mutate::difference(difference)),
                &code(&format!("{}:{}", place.file, place.line)),
            ],
        );
    }
    more(&mut text, survivors().count());
    text
}

fn more(text: &mut String, count: usize) {
    if let Some(more @ 1..) = count.checked_sub(TOLD) {
        let _infallible = writeln!(text, "\nand {more} more");
    }
}

/// A line of a table.
fn row(text: &mut String, cells: &[&str]) {
    let _infallible = writeln!(text, "| {} |", cells.join(" | "));
}

/// Code as HTML: Markdown has no escape for `|` in it that all readers know.
fn code(text: &str) -> String {
    format!("<code>{}</code>", html(&escaped(text)))
}

/// Nothing but its characters.
fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            'a'..='z' | 'A'..='Z' | '0'..='9' | ' ' | '/' | '.' | ',' | ':' | '-' | '=' => {
                out.push(char);
            }
            other => {
                let _infallible = write!(out, "&#{};", u32::from(other));
            }
        }
    }
    out
}
