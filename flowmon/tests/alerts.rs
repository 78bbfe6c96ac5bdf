//! What is shipped for Prometheus and Grafana asks for metrics that there are, and says what it should.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test may fail by panicking, and says what it skipped"
)]

#[path = "support/tool.rs"]
mod tool;
#[path = "support/yaml.rs"]
mod yaml;

use std::{collections::BTreeSet, fs, process::Output};

use flowmon::sinks::FAMILIES;
use serde_json::{Value, json};
use tool::tool;

const RULES: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../deploy/prometheus/rules.yml"
);
const TESTS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../deploy/prometheus/rules.test.yml"
);
const DASHBOARD: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../deploy/grafana/flowmon.json"
);
const PROMETHEUS_RULE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../deploy/kubernetes/prometheusrule"
);

fn rules() -> Value {
    let mut documents = yaml::documents(&fs::read_to_string(RULES).unwrap()).unwrap();
    assert_eq!(documents.len(), 1);
    documents.remove(0)
}

fn said(output: &Output) -> String {
    String::from_utf8([&output.stdout[..], &output.stderr].concat()).unwrap()
}

/// Every string that is called `name`, however deep.
fn all<'v>(value: &'v Value, name: &str, found: &mut Vec<&'v str>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get(name).and_then(Value::as_str));
            fields.values().for_each(|field| all(field, name, found));
        }
        Value::Array(items) => items.iter().for_each(|item| all(item, name, found)),
        _ => {}
    }
}

fn strings<'v>(value: &'v Value, name: &str) -> Vec<&'v str> {
    let mut found = Vec::new();
    all(value, name, &mut found);
    assert!(!found.is_empty(), "no {name} is there");
    found
}

/// Words of a query that can be names of metrics of ours, or of recording rules.
fn metrics(query: &str) -> impl Iterator<Item = &str> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || "_:".contains(letter);
    let words = query.split(move |letter| !is_part(letter));
    words.filter(|word| word.starts_with("flowmon_") || word.contains(":flowmon_"))
}

/// Is it a family's name, or that of a part of a histogram?
fn is_exposed(name: &str) -> bool {
    FAMILIES.iter().any(|family| {
        let parts: &[&str] = match family.kind() {
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        let rest = name.strip_prefix(family.name);
        rest.is_some_and(|rest| parts.contains(&rest))
    })
}

#[test]
fn every_metric_that_is_asked_for_is_there() {
    let rules = rules();
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(DASHBOARD).unwrap()).unwrap();
    let recorded = BTreeSet::from_iter(strings(&rules, "record"));
    let mut seen = BTreeSet::new();
    let queries = strings(&dashboard, "expr").into_iter();
    let variables = strings(&dashboard, "definition").into_iter();
    for query in strings(&rules, "expr")
        .into_iter()
        .chain(queries)
        .chain(variables)
    {
        for name in metrics(query) {
            assert!(
                is_exposed(name) || recorded.contains(name),
                "{name} in: {query}"
            );
            seen.insert(name);
        }
    }
    assert!(seen.len() > 20, "{seen:?}");
    // The texts name some, too.
    for text in strings(&rules, "description") {
        for name in metrics(text) {
            assert!(is_exposed(name), "{name} in: {text}");
        }
    }
}

#[test]
fn every_alert_says_what_to_do_and_is_tried() {
    let rules = rules();
    let tests = fs::read_to_string(TESTS).unwrap();
    let groups = rules.pointer("/groups").unwrap().as_array().unwrap();
    let rules = groups
        .iter()
        .flat_map(|group| group.pointer("/rules").unwrap().as_array().unwrap());
    let alerts: Vec<&Value> = rules.filter(|rule| rule.get("alert").is_some()).collect();
    assert!(alerts.len() > 10);
    for alert in alerts {
        let text = |pointer: &str| alert.pointer(pointer).and_then(Value::as_str).unwrap_or("");
        let name = text("/alert");
        assert!(
            ["critical", "warning", "info"].contains(&text("/labels/severity")),
            "{name}"
        );
        assert!(!text("/annotations/summary").is_empty(), "{name}");
        assert!(text("/annotations/description").len() > 100, "{name}");
        assert!(tests.contains(name), "{name} is not tried");
    }
}

#[test]
fn promtool_finds_the_alerts_valid_and_right() {
    for args in [["check", "rules", RULES], ["test", "rules", TESTS]] {
        let Some(output) = tool("promtool", &args) else {
            return;
        };
        assert!(output.status.success(), "{}", said(&output));
    }
}

/// As rules, with a value for each of Grafana's variables.
#[test]
fn promtool_finds_the_dashboards_queries_valid() {
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(DASHBOARD).unwrap()).unwrap();
    let rules: Vec<Value> = strings(&dashboard, "expr")
        .into_iter()
        .enumerate()
        .map(|(number, query)| {
            let query = query.replace("$__rate_interval", "5m");
            json!({"record": format!("panel:{number}"), "expr": query})
        })
        .collect();
    let file = json!({"groups": [{"name": "dashboard", "rules": rules}]});
    let path = std::env::temp_dir().join(format!("flowmon-dashboard-{}.yml", std::process::id()));
    fs::write(&path, file.to_string()).unwrap();
    let output = tool("promtool", &["check", "rules", path.to_str().unwrap()]);
    fs::remove_file(&path).unwrap();
    let Some(output) = output else { return };
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn the_operator_gets_the_same_rules() {
    let output = tool(PROMETHEUS_RULE, &[]).unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let documents = yaml::documents(&said(&output)).unwrap();
    let [rule] = documents.as_slice() else {
        unreachable!("one document: {documents:?}")
    };
    assert_eq!(rule.pointer("/kind"), Some(&json!("PrometheusRule")));
    assert_eq!(rule.pointer("/spec"), Some(&rules()));
}
