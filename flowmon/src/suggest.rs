//! The least that policies must allow for what was seen, as policies.
//!
//! Pure. Every workload that was watched is isolated in thought, beside the policies that are there;
//! each connection that is denied then is one that a rule is needed for. What can't be said becomes a
//! question. At last the policies are read again as they are written, and judge what was seen.
#![forbid(unsafe_code)]

mod format;
mod needs;
mod networks;
mod question;
mod seen;
mod workload;
mod write;

use crate::policy::{Inventory, PolicySet, Ruleset, Settings, document};
pub use format::Format;
use needs::Needs;
use question::Questions;
pub use seen::{Report, Seen, Sighting};
use workload::Workloads;

/// What is suggested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suggestion {
    /// Policies with the evidence as comments, then the questions as comments.
    pub yaml: String,
    /// Policies in it.
    pub policies: usize,
    /// Flows that it does not allow until somebody answers a question.
    pub open: u64,
}

/// Suggests what is missing in `existing` to allow what was seen, and isolates what was watched.
/// `notes` become comments at the beginning. In the baseline tier, where cluster network policies are
/// suggested, nothing can be added to what `existing` isolates: there should be none.
pub fn suggest(
    seen: &Seen,
    inventory: &Inventory,
    existing: &PolicySet,
    settings: Settings,
    format: Format,
    notes: &[String],
) -> Suggestion {
    let workloads = Workloads::new(inventory, existing);
    let watched = needs::watched(seen, inventory, &workloads);
    let mut isolated = existing.clone();
    let isolation = format.isolation(watched.keys().copied(), &workloads);
    isolated.policies.extend(isolation);
    let ruleset = Ruleset::compile(&isolated, inventory, settings);
    let mut questions = Questions::new(inventory);
    let needs = Needs::find(seen, inventory, &ruleset, &workloads, &mut questions);
    let documents = write::documents(&needs, &watched, &workloads, inventory, existing, format);

    let text = documents.join("---\n");
    let mut judging = existing.clone();
    let file = "suggestion".into();
    let suggested = document::read([(file, &*text)]);
    let policies = suggested.set.policies.len();
    judging.policies.extend(suggested.set.policies);
    let ruleset = Ruleset::compile(&judging, inventory, settings);
    questions.ask_of_the_denied(seen, &ruleset);

    let mut notes = notes.to_vec();
    notes.extend(format.notes().iter().map(|line| (*line).to_owned()));
    let parts = [
        write::comments(&notes),
        text,
        write::comments(&needs.remarks(&watched, &workloads)),
        write::comments(&questions.lines()),
    ];
    let parts = parts.into_iter().filter(|part| !part.is_empty());
    Suggestion {
        yaml: parts.collect::<Vec<_>>().join("---\n"),
        policies,
        open: questions.flows(),
    }
}
