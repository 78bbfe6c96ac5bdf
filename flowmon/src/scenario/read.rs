//! Reading a scenario, strictly: what nobody knows is an error, with its place.

use std::sync::Arc;

use super::{
    Scenario, cast,
    expectation::{self, word, words},
};
use crate::policy::{
    Problem,
    document::{self, Cursor, Findings},
};

/// Reads one file.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read(file: &Arc<str>, text: &str) -> Result<Scenario, Vec<Problem>> {
    document::alone(file, text, |whole, findings| {
        let source: Vec<&str> = text.lines().collect();
        scenario(file, &source, whole, findings)
    })
}

fn scenario(
    file: &Arc<str>,
    source: &[&str],
    whole: &Cursor<'_, '_>,
    findings: &mut Findings<'_>,
) -> Scenario {
    let mut fields = whole.fields(findings);
    let policies = fields.require("policies", findings);
    let policies = policies.map_or_else(Vec::new, |at| words(file, &at, findings));
    let inventory = fields.get("inventory");
    let namespaces = fields.get("namespaces");
    let pods = fields.get("pods");
    let services = fields.get("services");
    if let Some(at) = &inventory
        && (namespaces.is_some() || pods.is_some() || services.is_some())
    {
        let says =
            "the cast is either in an `inventory`, or here: `namespaces`, `pods`, `services`";
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
        services.as_ref(),
        findings,
    );
    let mut stated = Vec::new();
    if let Some(at) = fields.require("expect", findings) {
        for item in at.list(findings) {
            expectation::read(file, source, &item, &mut stated, findings);
        }
        if stated.is_empty() && findings.is_valid() {
            findings.error(&at, "list-length", "nothing is expected: this can't fail");
        }
    }
    fields.end(findings);
    Scenario {
        policies,
        inventory,
        cast,
        outside,
        stated,
    }
}
