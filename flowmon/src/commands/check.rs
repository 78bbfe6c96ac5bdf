//! `flowmon check`

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use serde::Serialize;

use super::{Exit, Failure, files, print};
use crate::{
    cli::{CheckArgs, CheckOutput},
    policy::{Problem, Severity, document, inventory, lint, rules},
    report::{self, Finding, Findings, Level, Rule},
    sinks::escaped,
};

/// A finding as JSON.
#[derive(Serialize)]
struct Found<'a> {
    schema: &'static str,
    severity: Severity,
    rule: &'a str,
    file: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    line: u32,
    #[serde(skip_serializing_if = "is_zero")]
    column: u32,
    #[serde(skip_serializing_if = "str::is_empty")]
    path: &'a str,
    message: &'a str,
}

/// The last line.
#[derive(Debug, Default, Serialize)]
struct Summary {
    schema: &'static str,
    /// Those in order, by kind.
    policies: BTreeMap<&'static str, usize>,
    /// Objects of other kinds, which were passed over.
    others: BTreeMap<String, u64>,
    errors: usize,
    warnings: usize,
    notes: usize,
}

pub(super) fn run(settings: &CheckArgs) -> Result<Exit, Failure> {
    let mut reader = document::Reader::default();
    let mut problems = files::read(&settings.paths, |name, text| reader.file(name, text))?;
    let mut documents = reader.finish();
    problems.append(&mut documents.problems);
    let mut known = None;
    if !settings.inventory.is_empty() {
        let mut reader = inventory::Reader::default();
        let unreadable = files::read(&settings.inventory, |name, text| reader.file(name, text))?;
        problems.extend(unreadable);
        let mut listing = reader.finish();
        problems.append(&mut listing.problems);
        known = Some(listing.inventory);
    }
    problems.append(&mut lint(&documents.set, known.as_ref()));
    // By file and line; a document's own problems before what others make of it.
    problems.sort_by(|a, b| {
        let key = |problem: &Problem| (problem.place.line, problem.place.column);
        a.place.file.cmp(&b.place.file).then(key(a).cmp(&key(b)))
    });
    let count = |severity| problems.iter().filter(|it| it.severity == severity).count();
    let mut summary = Summary {
        schema: "flowmon.check.v1",
        policies: BTreeMap::new(),
        others: documents.others,
        errors: count(Severity::Error),
        warnings: count(Severity::Warning),
        notes: count(Severity::Note),
    };
    for policy in &documents.set.policies {
        *summary.policies.entry(policy.id.kind.label()).or_default() += 1;
    }
    print(&match settings.output {
        CheckOutput::Table => table(&problems, &summary),
        CheckOutput::Json => json(&problems, &summary)?,
        CheckOutput::Sarif => sarif(&problems).json(),
    })?;
    Ok(if summary.errors > 0 {
        Exit::Usage
    } else if settings.strict && summary.warnings > 0 {
        Exit::Violations
    } else {
        Exit::Done
    })
}

/// Like a compiler's, so that editors find the place.
fn table(problems: &[Problem], summary: &Summary) -> String {
    let mut text = String::new();
    for problem in problems {
        let severity = match problem.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        };
        let place = problem.place.to_string();
        let at = if problem.place.path.is_empty() {
            String::new()
        } else {
            format!("{}: ", problem.place.path)
        };
        let line = format!(
            "{place}: {severity}: {at}{} [{}]",
            problem.message, problem.rule
        );
        text.push_str(&escaped(&line));
        text.push('\n');
    }
    let listed = |kinds: &mut dyn Iterator<Item = (&str, u64)>| {
        let each: Vec<_> = kinds
            .map(|(kind, count)| format!("{count} {kind}"))
            .collect();
        if each.is_empty() {
            "none".to_owned()
        } else {
            escaped(&each.join(", ")).into_owned()
        }
    };
    let policies = summary.policies.iter();
    let policies = listed(&mut policies.map(|(kind, count)| (*kind, *count as u64)));
    let others = listed(&mut summary.others.iter().map(|(kind, count)| (&**kind, *count)));
    let Summary {
        errors,
        warnings,
        notes,
        ..
    } = summary;
    let _infallible = writeln!(
        text,
        "policies in order: {policies}; other objects, passed over: {others}; \
         {errors} errors, {warnings} warnings, {notes} notes"
    );
    text
}

fn json(problems: &[Problem], summary: &Summary) -> Result<String, Failure> {
    let mut text = String::new();
    for problem in problems {
        push(
            &mut text,
            &Found {
                schema: "flowmon.finding.v1",
                severity: problem.severity,
                rule: problem.rule,
                file: &problem.place.file,
                line: problem.place.line,
                column: problem.place.column,
                path: &problem.place.path,
                message: &problem.message,
            },
        )?;
    }
    push(&mut text, summary)?;
    Ok(text)
}

fn sarif(problems: &[Problem]) -> Findings {
    let names: BTreeSet<&'static str> = problems.iter().map(|problem| problem.rule).collect();
    let rules = names.into_iter().map(|name| Rule {
        id: name.into(),
        description: rules::meaning(name).unwrap_or_default().into(),
    });
    let findings = problems.iter().map(|problem| Finding {
        rule: problem.rule.into(),
        level: match problem.severity {
            Severity::Error => Level::Error,
            Severity::Warning => Level::Warning,
            Severity::Note => Level::Note,
        },
        message: problem.message.clone(),
        place: Some(report::Place {
            file: problem.place.file.to_string(),
            line: problem.place.line,
            column: problem.place.column,
        }),
        identity: String::new(),
        occurrences: None,
    });
    Findings {
        rules: rules.collect(),
        findings: findings.collect(),
    }
}

fn push(text: &mut String, line: &impl Serialize) -> Result<(), Failure> {
    let json = serde_json::to_string(line);
    *text += &json.map_err(|error| Failure::new(Exit::Usage, error))?;
    text.push('\n');
    Ok(())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}
