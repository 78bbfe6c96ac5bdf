//! Policies and inventory for a command that needs them in order: what is wrong with them ends it.

use std::path::PathBuf;

use super::{Exit, Failure, files};
use crate::{
    policy::{Inventory, PolicySet, Problem, Severity, document, inventory},
    sinks::{counted, escaped},
};

/// Problems that are told one by one.
const TOLD: usize = 50;

/// The policies in files and folders.
pub(super) fn policies(paths: &[PathBuf]) -> Result<PolicySet, Failure> {
    let mut reader = document::Reader::default();
    let mut problems = files::read(paths, |name, text| reader.file(name, text))?;
    let mut documents = reader.finish();
    problems.append(&mut documents.problems);
    tell(&problems, "policies")?;
    if documents.set.policies.is_empty() {
        let paths: Vec<String> = paths
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        let message = format!("there is no policy in {}", paths.join(", "));
        return Err(Failure::new(Exit::Usage, escaped(&message)));
    }
    Ok(documents.set)
}

/// Who is in files and folders.
pub(super) fn inventory(paths: &[PathBuf]) -> Result<Inventory, Failure> {
    let mut reader = inventory::Reader::default();
    let mut problems = files::read(paths, |name, text| reader.file(name, text))?;
    let mut listing = reader.finish();
    problems.append(&mut listing.problems);
    tell(&problems, "inventory")?;
    Ok(listing.inventory)
}

/// Tells what is wrong; errors end the command.
pub(super) fn tell(problems: &[Problem], of_what: &str) -> Result<(), Failure> {
    for problem in problems.iter().take(TOLD) {
        let text = format!("{}: {}", problem.place, problem.message);
        let text = escaped(&text);
        match problem.severity {
            Severity::Error => tracing::error!("{text}"),
            Severity::Warning => tracing::warn!("{text}"),
            Severity::Note => tracing::debug!("{text}"),
        }
    }
    let is_error = |problem: &&Problem| problem.severity == Severity::Error;
    let errors = problems.iter().filter(is_error).count();
    if errors == 0 {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Usage,
        format_args!("{} in the {of_what}", counted(errors as u64, "error")),
    ))
}
