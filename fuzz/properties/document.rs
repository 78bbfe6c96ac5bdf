//! What holds of any text that is taken for policies, or for an inventory.

use std::sync::Arc;

use flowmon::policy::{Place, Problem, document, inventory, lint, rules};

/// It is read to its end, and whatever is said of it has a place in it.
pub(crate) fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let file: Arc<str> = "file".into();
    let documents = document::read([(Arc::clone(&file), text)]);
    let listing = inventory::read([(file, text)]);
    let doubts = lint(&documents.set, Some(&listing.inventory));
    let lines: Vec<usize> = text.split('\n').map(str::len).collect();
    let problems = documents
        .problems
        .iter()
        .chain(&listing.problems)
        .chain(&doubts);
    for Problem {
        rule,
        place,
        message,
        ..
    } in problems
    {
        assert!(rules::meaning(rule).is_some(), "{rule}");
        assert!(!message.is_empty(), "{rule}");
        is_inside(place, &lines);
    }
    for policy in &documents.set.policies {
        is_inside(&policy.place, &lines);
        for rule in policy.ingress.iter().chain(&policy.egress).flatten() {
            assert!(rule.place.path.starts_with("spec."), "{}", rule.place.path);
            assert!(rule.place.line >= policy.place.line);
            is_inside(&rule.place, &lines);
        }
    }
}

/// The place is in the text, or just behind its end.
fn is_inside(place: &Place, lines: &[usize]) {
    if place.line == 0 {
        return;
    }
    let line = place.line as usize;
    assert!(line <= lines.len(), "{line} of {} lines", lines.len());
    let length = lines.get(line - 1).copied().unwrap_or_default();
    assert!(
        place.column as usize <= length + 1,
        "{} of {length} columns",
        place.column
    );
}
