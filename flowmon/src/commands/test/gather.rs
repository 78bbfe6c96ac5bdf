//! Scenarios from files, with what they name, judged by the policies alone.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::Told;
use crate::{
    commands::{Exit, Failure, documents, files},
    policy::{self, Inventory, Outcome, PolicySet, Ruleset},
    scenario::{self, Cell, Fix, Scenario, Trial, Word, judge, tighten},
    sinks::escaped,
};

/// Expectations of a scenario for which a fix is looked for: that takes a while.
const FIXES: usize = 10;

/// A scenario, ready to be played.
pub(super) struct Prepared {
    /// The policies under test.
    pub(super) policies: PolicySet,
    /// Both, ready to judge.
    pub(super) ruleset: Ruleset,
    /// Who is in it.
    pub(super) inventory: Inventory,
    /// And outside.
    pub(super) outside: BTreeMap<String, IpAddr>,
    /// What it expects, in its order.
    pub(super) cells: Vec<Told>,
}

impl Prepared {
    /// What is tried.
    pub(super) const fn trial(&self, settings: policy::Settings) -> Trial<'_> {
        Trial {
            policies: &self.policies,
            inventory: &self.inventory,
            outside: &self.outside,
            settings,
        }
    }
}

/// Every scenario that is named, and those in folders that are called so.
pub(super) fn scenarios(paths: &[PathBuf]) -> Result<Vec<(Arc<str>, Scenario)>, Failure> {
    let mut found = Vec::new();
    let mut problems = Vec::new();
    let unreadable = files::scenarios(paths, |name, text| match scenario::read(name, text) {
        Ok(scenario) => found.push((Arc::clone(name), scenario)),
        Err(mut wrong) => problems.append(&mut wrong),
    })?;
    problems.extend(unreadable);
    documents::tell(&problems, "scenarios")?;
    if found.is_empty() {
        let says = "there is no scenario: name one, or a folder with files *.scenario.yaml";
        return Err(Failure::new(Exit::Usage, says));
    }
    Ok(found)
}

/// Compiles a scenario's policies, and judges what it expects by them alone.
pub(super) fn prepare(
    file: &Path,
    scenario: &Scenario,
    corners: policy::Settings,
) -> Result<Prepared, Failure> {
    let policies = scenario.policies.iter().map(|word| beside(file, word));
    let policies = documents::policies(&policies.collect::<Result<Vec<_>, _>>()?)?;
    let inventory = match &scenario.inventory {
        Some(word) => documents::inventory(&[beside(file, word)?])?,
        None => scenario.cast.clone(),
    };
    let ruleset = Ruleset::compile(&policies, &inventory, corners);
    let cells = scenario.cells(&inventory);
    let cells =
        cells.or_else(|problems| documents::tell(&problems, "scenarios").map(|()| Vec::new()))?;
    let told = |cell: Cell| Told {
        judged: judge(&ruleset, &cell.expected, &cell.connection),
        cell,
        observed: None,
        fix: None,
    };
    let mut prepared = Prepared {
        cells: cells.into_iter().map(told).collect(),
        policies,
        ruleset,
        inventory,
        outside: scenario.outside.clone(),
    };
    for (number, fix) in fixes(&prepared, corners) {
        if let Some(told) = prepared.cells.get_mut(number) {
            told.fix = fix;
        }
    }
    Ok(prepared)
}

/// What would deny those that are allowed and should not be, by their numbers.
fn fixes(prepared: &Prepared, corners: policy::Settings) -> Vec<(usize, Option<Fix>)> {
    let trial = prepared.trial(corners);
    let met = prepared.cells.iter().filter(|told| !told.is_failed());
    let met: Vec<&Cell> = met.map(|told| &told.cell).collect();
    let leaks = |(_, told): &(usize, &Told)| {
        let outcomes = (told.cell.expected.outcome, told.judged.outcome);
        outcomes == (Outcome::Denied, Outcome::Allowed)
    };
    let leaking = prepared.cells.iter().enumerate().filter(leaks).take(FIXES);
    leaking
        .map(|(number, told)| (number, tighten(&trial, &told.cell, &met)))
        .collect()
}

/// A path of the scenario, from where it is.
fn beside(file: &Path, word: &Word) -> Result<PathBuf, Failure> {
    let path = file.parent().unwrap_or(Path::new("")).join(&word.text);
    if path.exists() {
        return Ok(path);
    }
    let message = format!(
        "{}: {}: there is no such file or folder",
        word.place,
        path.display()
    );
    Err(Failure::new(Exit::Usage, escaped(&message)))
}
