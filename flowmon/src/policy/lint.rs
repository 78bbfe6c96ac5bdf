//! Policies that are valid and probably not meant. What can be seen in a document alone is found where
//! it is read (`document/`); here is what takes all policies, or who exists, to see.
//!
//! `docs/check.md` lists every rule.

mod cover;
mod dns;
mod network;
mod order;
mod peers;
mod population;
mod reach;
#[cfg(test)]
mod tests;

use population::Population;

use super::{Inventory, Place, PolicySet, Problem, Severity};

/// What is worth a second look, in the order of the files. Without an inventory, nothing is said of
/// who is selected.
pub fn lint(set: &PolicySet, inventory: Option<&Inventory>) -> Vec<Problem> {
    let population = inventory.map(Population::new);
    let mut remarks = Remarks::default();
    for policy in &set.policies {
        peers::check(policy, &mut remarks);
        order::check_rules(policy, &mut remarks);
        if let Some(population) = &population {
            reach::check(policy, population, &mut remarks);
            network::check(policy, population, &mut remarks);
        }
    }
    dns::check(set, population.as_ref(), &mut remarks);
    order::check_policies(set, population.as_ref(), &mut remarks);
    remarks.problems.sort_by(|a, b| a.place.cmp(&b.place));
    remarks.problems
}

#[derive(Debug, Default)]
struct Remarks {
    problems: Vec<Problem>,
}

impl Remarks {
    fn warn(&mut self, place: &Place, rule: &'static str, says: impl Into<String>) {
        self.push(Severity::Warning, place, rule, says.into());
    }

    fn note(&mut self, place: &Place, rule: &'static str, says: impl Into<String>) {
        self.push(Severity::Note, place, rule, says.into());
    }

    fn push(&mut self, severity: Severity, place: &Place, rule: &'static str, message: String) {
        self.problems.push(Problem {
            severity,
            rule,
            place: place.clone(),
            message,
        });
    }
}
