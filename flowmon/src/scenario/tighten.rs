//! What is allowed and should not be: the smallest change that denies it, and leaves all else that is
//! expected as it is.

use super::{
    Cell,
    isolate::isolating,
    judge,
    mutants::{self, Mutant},
    mutation::{Trial, questions},
    narrow::narrowed,
};
use crate::policy::{Outcome, Ruleset, document};

/// Changes that are tried.
const MOST: usize = 5000;

/// A change that would deny it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fix {
    /// Of a policy that is there.
    Change(Mutant),
    /// This one beside those that are there.
    Policy(String),
}

/// What would deny `cell`, which is allowed and should not be, if one change does. `others` are met.
pub fn tighten(trial: &Trial<'_>, cell: &Cell, others: &[&Cell]) -> Option<Fix> {
    let is_allowed = |it: &&Cell| it.expected.outcome == Outcome::Allowed;
    let needed: Vec<&Cell> = others.iter().copied().filter(is_allowed).collect();
    let dropped = mutants::all(trial.policies).filter(Mutant::drops_a_part);
    let narrowed = narrowed(trial, &needed);
    let changes = dropped.chain(narrowed).take(MOST).map(|mutant| {
        let set = mutant.set(trial.policies);
        (Fix::Change(mutant), set)
    });
    let isolating = isolating(trial, cell, &needed).into_iter().map(|yaml| {
        let read = document::read([("fix".into(), &*yaml)]);
        let mut set = trial.policies.clone();
        set.policies.extend(read.set.policies);
        (Fix::Policy(yaml), set)
    });
    let denies = changes.chain(isolating).filter_map(|(fix, set)| {
        let ruleset = trial.compile(&set);
        let is_met = |cell: &Cell| {
            let verdicts = ruleset.judge(&cell.connection);
            judge::failure(&verdicts, &cell.expected).is_none()
        };
        (is_met(cell) && others.iter().all(|other| is_met(other))).then_some((fix, ruleset))
    });
    let denies: Vec<_> = denies.collect();
    let ruleset = trial.compile(trial.policies);
    let all: Vec<Cell> = others.iter().copied().chain([cell]).cloned().collect();
    let questions = questions(trial, &all, &ruleset);
    let differences = |ruleset: &Ruleset| {
        let differ = questions
            .iter()
            .filter(|it| ruleset.judge(&it.connection).outcome() != it.is);
        differ.count()
    };
    // Of equals the first: it takes away rather than adds.
    let smallest = denies
        .into_iter()
        .min_by_key(|(_, ruleset)| differences(ruleset));
    smallest.map(|(fix, _)| fix)
}
