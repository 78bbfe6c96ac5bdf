//! `flowmon test --mutate`: what can be changed in the policies without an expectation noticing.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt::Write as _,
};

use serde::Serialize;

use super::{gather::Prepared, json::push, markdown};
use crate::{
    cli::TestOutput,
    commands::Failure,
    policy::{self, Place},
    report::{Case, Suite, Verdict},
    scenario::{Cell, Difference, Fate, Mutant, mutate},
    sinks::{counted, escaped},
};

/// A mutant and what became of it, as JSON.
#[derive(Serialize)]
struct AsJson<'a> {
    schema: &'static str,
    file: &'a str,
    line: u32,
    kind: &'static str,
    policy: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    part: &'a str,
    change: &'a str,
    fate: &'static str,
    /// File and line of the first expectation that notices it.
    #[serde(skip_serializing_if = "Option::is_none")]
    noticed_by: Option<String>,
    /// What nobody expects.
    #[serde(skip_serializing_if = "Option::is_none")]
    difference: Option<String>,
}

/// The last line.
#[derive(Serialize)]
pub(super) struct Summary {
    schema: &'static str,
    scenarios: usize,
    mutants: usize,
    noticed: usize,
    survivors: usize,
    no_difference: usize,
}

impl Summary {
    /// In a line.
    pub(super) fn words(&self) -> String {
        let Self {
            noticed, survivors, ..
        } = *self;
        let percent = noticed * 100 / (noticed + survivors).max(1);
        format!(
            "{} by {}: {noticed} noticed, {survivors} survive ({percent} % noticed), {} make no difference",
            counted(self.mutants as u64, "mutant"),
            counted(self.scenarios as u64, "scenario"),
            self.no_difference,
        )
    }
}

/// What became of all mutants of all these, and how many survive. Policies that several scenarios test
/// are noticed by one of them.
pub(super) fn report(
    prepared: &[Prepared],
    corners: policy::Settings,
    output: TestOutput,
) -> Result<(String, usize), Failure> {
    let mut all: BTreeMap<(Place, String), (Mutant, Fate)> = BTreeMap::new();
    for it in prepared {
        let cells: Vec<Cell> = it.cells.iter().map(|told| told.cell.clone()).collect();
        for (mutant, fate) in mutate(&it.trial(corners), &cells) {
            match all.entry((mutant.place.clone(), mutant.change.clone())) {
                Entry::Vacant(entry) => {
                    entry.insert((mutant, fate));
                }
                Entry::Occupied(mut entry) => {
                    let (_, before) = entry.get_mut();
                    if rank(&fate) < rank(before) {
                        *before = fate;
                    }
                }
            }
        }
    }
    let all: Vec<(Mutant, Fate)> = all.into_values().collect();
    let count = |of| all.iter().filter(|(_, fate)| rank(fate) == of).count();
    let summary = Summary {
        schema: "flowmon.mutation.v1",
        scenarios: prepared.len(),
        mutants: all.len(),
        noticed: count(0),
        survivors: count(1),
        no_difference: count(2),
    };
    let text = match output {
        TestOutput::Table => table(&all, &summary),
        TestOutput::Json => json(&all, &summary)?,
        TestOutput::Junit => junit(&all).xml(),
        TestOutput::Markdown => markdown::mutants(&all, &summary),
    };
    Ok((text, summary.survivors))
}

/// What another scenario may better.
const fn rank(fate: &Fate) -> u8 {
    match fate {
        Fate::Noticed(_) => 0,
        Fate::Survives(_) => 1,
        Fate::MakesNoDifference => 2,
    }
}

/// `other/web -> shop/api, 80/tcp: allowed instead of denied`
pub(super) fn difference(it: &Difference) -> String {
    let Difference { from, to, port, .. } = it;
    let (becomes, is) = (it.becomes.label(), it.is.label());
    format!("{from} -> {to}, {port}: {becomes} instead of {is}")
}

/// `NetworkPolicy shop/web egress[0]: to everyone`
pub(super) fn title(mutant: &Mutant) -> String {
    let Mutant {
        policy,
        part,
        change,
        ..
    } = mutant;
    let part = if part.is_empty() {
        String::new()
    } else {
        format!(" {part}")
    };
    format!("{} {policy}{part}: {change}", policy.kind.label())
}

fn table(all: &[(Mutant, Fate)], summary: &Summary) -> String {
    let mut text = String::new();
    for (mutant, fate) in all {
        let Fate::Survives(survives) = fate else {
            continue;
        };
        let place = &mutant.place;
        for line in [
            format!(
                "SURVIVES  {} ({}:{})",
                title(mutant),
                place.file,
                place.line
            ),
            format!("          {}", difference(survives)),
        ] {
            text.push_str(&escaped(&line));
            text.push('\n');
        }
    }
    let _infallible = writeln!(text, "{}", summary.words());
    if summary.survivors > 0 {
        text.push_str(
            "What survives is a change that no expectation notices: say what is expected there.\n",
        );
    }
    if summary.no_difference > 0 {
        text.push_str(
            "What makes no difference to anybody of the casts: the other end decides the same, or who would \
             be concerned is missing (--output json tells each).\n",
        );
    }
    text
}

fn json(all: &[(Mutant, Fate)], summary: &Summary) -> Result<String, Failure> {
    let mut text = String::new();
    for (mutant, fate) in all {
        let noticed_by = match fate {
            Fate::Noticed(place) => Some(place),
            Fate::Survives(_) | Fate::MakesNoDifference => None,
        };
        let line = AsJson {
            schema: "flowmon.mutant.v1",
            file: &mutant.place.file,
            line: mutant.place.line,
            kind: mutant.policy.kind.label(),
            policy: mutant.policy.to_string(),
            part: &mutant.part,
            change: &mutant.change,
            fate: match fate {
                Fate::Noticed(_) => "noticed",
                Fate::Survives(_) => "survives",
                Fate::MakesNoDifference => "no-difference",
            },
            noticed_by: noticed_by.map(|by| format!("{}:{}", by.file, by.line)),
            difference: match fate {
                Fate::Survives(survives) => Some(difference(survives)),
                Fate::Noticed(_) | Fate::MakesNoDifference => None,
            },
        };
        push(&mut text, &line)?;
    }
    push(&mut text, summary)?;
    Ok(text)
}

fn junit(all: &[(Mutant, Fate)]) -> Suite {
    let cases = all.iter().map(|(mutant, fate)| Case {
        class: mutant.place.file.to_string(),
        name: format!("{} (line {})", title(mutant), mutant.place.line),
        verdict: match fate {
            Fate::Noticed(_) => Verdict::Passed,
            Fate::Survives(survives) => Verdict::Failed {
                message: "no expectation notices it".to_owned(),
                detail: difference(survives),
            },
            Fate::MakesNoDifference => Verdict::Skipped {
                message: "it makes no difference to anybody of the cast".to_owned(),
            },
        },
        output: String::new(),
    });
    Suite {
        name: "flowmon test --mutate".to_owned(),
        cases: cases.collect(),
    }
}
