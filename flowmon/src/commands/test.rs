//! `flowmon test`

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Serialize;

use super::{Exit, Failure, documents, files, print};
use crate::{
    cli::{TestArgs, TestOutput},
    policy::{Explanation, Ruleset},
    report::{Case, Suite, Verdict},
    scenario::{self, Expected, Judged, Scenario, Word, judge},
    sinks::{counted, escaped},
};

/// An expectation and what became of it, as JSON.
#[derive(Serialize)]
struct Cell<'a> {
    schema: &'static str,
    file: &'a str,
    line: u32,
    from: &'a str,
    to: &'a str,
    port: &'a str,
    expected: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    because: Option<&'a str>,
    outcome: &'static str,
    met: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<&'a Explanation>,
}

/// The last line.
#[derive(Serialize)]
struct Summary {
    schema: &'static str,
    scenarios: usize,
    expectations: usize,
    failed: usize,
}

/// An expectation and what became of it.
type Told = (Expected, Judged);

pub(super) fn run(args: &TestArgs) -> Result<Exit, Failure> {
    if !args.is_static {
        let says = "the run with real traffic is not built yet: say --static to judge scenarios by \
                    the policies alone";
        return Err(Failure::new(Exit::Usage, says));
    }
    let mut results: Vec<Told> = Vec::new();
    let scenarios = scenarios(&args.scenarios)?;
    for (file, scenario) in &scenarios {
        one(Path::new(&**file), scenario, args, &mut results)?;
    }
    let failed = |(_, judged): &&Told| judged.failure.is_some();
    let summary = Summary {
        schema: "flowmon.test.v1",
        scenarios: scenarios.len(),
        expectations: results.len(),
        failed: results.iter().filter(failed).count(),
    };
    print(&match args.output {
        TestOutput::Table => table(&results, &summary),
        TestOutput::Json => json(&results, &summary)?,
        TestOutput::Junit => junit(&results).xml(),
    })?;
    Ok(if summary.failed > 0 {
        Exit::Violations
    } else {
        Exit::Done
    })
}

/// Every scenario that is named, and those in folders that are called so.
fn scenarios(paths: &[PathBuf]) -> Result<Vec<(Arc<str>, Scenario)>, Failure> {
    let mut found = Vec::new();
    let mut problems = Vec::new();
    let unreadable = files::read(paths, |name, text| {
        let is_named = paths.iter().any(|path| path.as_os_str() == &**name);
        if !is_named && !name.ends_with(".scenario.yaml") {
            return;
        }
        match scenario::read(name, text) {
            Ok(scenario) => found.push((Arc::clone(name), scenario)),
            Err(mut wrong) => problems.append(&mut wrong),
        }
    })?;
    problems.extend(unreadable);
    documents::tell(&problems, "scenarios")?;
    if found.is_empty() {
        let says = "there is no scenario: name one, or a folder with files *.scenario.yaml";
        return Err(Failure::new(Exit::Usage, says));
    }
    Ok(found)
}

fn one(
    file: &Path,
    scenario: &Scenario,
    args: &TestArgs,
    results: &mut Vec<Told>,
) -> Result<(), Failure> {
    let policies = scenario.policies.iter().map(|word| beside(file, word));
    let policies = documents::policies(&policies.collect::<Result<Vec<_>, _>>()?)?;
    let listed;
    let inventory = match &scenario.inventory {
        Some(word) => {
            listed = documents::inventory(&[beside(file, word)?])?;
            &listed
        }
        None => &scenario.cast,
    };
    let ruleset = Ruleset::compile(&policies, inventory, args.corners());
    let mut problems = Vec::new();
    for expected in &scenario.expected {
        match expected.connection(inventory, &scenario.outside) {
            Ok(connection) => {
                let judged = judge(&ruleset, expected, &connection);
                results.push((expected.clone(), judged));
            }
            Err(problem) => problems.push(problem),
        }
    }
    documents::tell(&problems, "scenarios")
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

fn title(expected: &Expected) -> String {
    let (from, to, port) = (&expected.from, &expected.to, &expected.port);
    format!("{} -> {}, {}", from.text, to.text, port.text)
}

fn table(results: &[Told], summary: &Summary) -> String {
    let mut text = String::new();
    for (expected, judged) in results {
        let place = &expected.from.place;
        let title = title(expected);
        let line = match &judged.failure {
            None => format!("ok    {title}: {}", judged.outcome.label()),
            Some(failure) => format!("FAIL  {title}: {failure} ({}:{})", place.file, place.line),
        };
        text.push_str(&escaped(&line));
        text.push('\n');
        for line in why(judged).lines() {
            let _infallible = writeln!(text, "      {}", escaped(line));
        }
    }
    let _infallible = writeln!(
        text,
        "{} in {}, judged without traffic: {} not met",
        counted(summary.expectations as u64, "expectation"),
        counted(summary.scenarios as u64, "scenario"),
        summary.failed
    );
    text
}

fn why(judged: &Judged) -> String {
    let explanation = judged.explanation.as_ref();
    explanation.map(ToString::to_string).unwrap_or_default()
}

fn json(results: &[Told], summary: &Summary) -> Result<String, Failure> {
    let mut text = String::new();
    for (expected, judged) in results {
        let cell = Cell {
            schema: "flowmon.expectation.v1",
            file: &expected.from.place.file,
            line: expected.from.place.line,
            from: &expected.from.text,
            to: &expected.to.text,
            port: &expected.port.text,
            expected: expected.outcome.label(),
            because: expected.because.as_deref(),
            outcome: judged.outcome.label(),
            met: judged.failure.is_none(),
            failure: judged.failure.as_deref(),
            explanation: judged.explanation.as_ref(),
        };
        push(&mut text, &cell)?;
    }
    push(&mut text, summary)?;
    Ok(text)
}

fn push(text: &mut String, line: &impl Serialize) -> Result<(), Failure> {
    let json = serde_json::to_string(line);
    *text += &json.map_err(|error| Failure::new(Exit::Usage, error))?;
    text.push('\n');
    Ok(())
}

fn junit(results: &[Told]) -> Suite {
    let cases = results.iter().map(|(expected, judged)| {
        let place = &expected.from.place;
        Case {
            class: place.file.to_string(),
            name: format!("{} (line {})", title(expected), place.line),
            verdict: match &judged.failure {
                None => Verdict::Passed,
                Some(message) => Verdict::Failed {
                    message: message.clone(),
                    detail: why(judged),
                },
            },
            output: String::new(),
        }
    });
    Suite {
        name: "flowmon test --static".to_owned(),
        cases: cases.collect(),
    }
}
