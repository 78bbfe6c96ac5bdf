//! The schema that editors check scenarios by: it takes what `flowmon test` takes, and no typo.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail by panicking"
)]

#[path = "support/yaml.rs"]
mod yaml;

use std::{
    fs,
    path::{Path, PathBuf},
};

use boon::{Compiler, SchemaIndex, Schemas};
use flowmon::scenario::{SCHEMA, read};

const SCENARIO: &str = r"policies: [it.yaml, others]
namespaces:
  a: {team: x}
pods:
  a/one: {labels: {app: one}, addresses: [10.0.0.1, fd00::1], ports: {http: 80, dns: 53/udp}}
  a/two:
services:
  a/svc: {selector: {app: one}, ports: {80: http, 53/udp: 53}}
  a/other: {backends: [a/two, internet], addresses: 10.96.1.1, ports: {443: 8443}}
outside:
  internet: 203.0.113.7
expect:
  - {from: a/one, to: [a/two, internet], port: [80, 53/udp], expect: denied, because: no-rule-matched}
  - {from: [], to: a/one, port: http, only: from}
  - port: icmp
    table: |
      # a comment
      from\to  a/one  a/two
      a/one    -      .
";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

struct Schema {
    schemas: Schemas,
    index: SchemaIndex,
}

impl Schema {
    fn new() -> Self {
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        let url = "memory:///scenario.json";
        compiler
            .add_resource(url, serde_json::from_str(SCHEMA).unwrap())
            .unwrap();
        let index = compiler.compile(url, &mut schemas).unwrap();
        Self { schemas, index }
    }

    /// What is wrong with a scenario.
    fn complaint(&self, text: &str) -> Option<String> {
        let documents = yaml::documents(text).unwrap();
        let checked = self.schemas.validate(&documents[0], self.index);
        checked.err().map(|error| format!("{error:#}"))
    }
}

#[test]
fn all_our_scenarios_are_as_the_schema_says_and_name_it() {
    let schema = Schema::new();
    let mut folders = vec![root().join("policies")];
    let mut hints = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            if !path.to_str().unwrap().ends_with(".scenario.yaml") {
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            assert_eq!(schema.complaint(&text), None, "{}", path.display());
            let hint = text.lines().next().unwrap();
            if let Some(named) = hint.strip_prefix("# yaml-language-server: $schema=") {
                hints += 1;
                assert!(folder.join(named).exists(), "{}", path.display());
            }
        }
    }
    assert!(hints > 20, "{hints}");
}

#[test]
fn what_is_wrong_is_wrong_to_both() {
    let schema = Schema::new();
    assert_eq!(schema.complaint(SCENARIO), None);
    assert!(read(&"it".into(), SCENARIO).is_ok());
    for (right, wrong) in [
        ("policies:", "policy:"),
        ("[it.yaml, others]", "[]"),
        ("namespaces:", "inventory: x.yaml\nnamespaces:"),
        ("pods:", "pod:"),
        ("a/one: {labels", "one: {labels"),
        ("labels: {app: one}, addr", "label: {app: one}, addr"),
        ("labels: {app: one}, addr", "labels: [app], addr"),
        ("http: 80", "http: 80/tpc"),
        ("http: 80", "http: 70000"),
        ("selector: {app: one}, ports", "ports"),
        (
            "selector: {app: one}, ports",
            "selector: {app: one}, backends: a/one, ports",
        ),
        ("ports: {443: 8443}", "port: 8443"),
        ("{443: 8443}", "{}"),
        ("internet: 203", "everyone: 203"),
        ("internet: 203", "inter/net: 203"),
        ("internet: 203.0.113.7", "internet: 7"),
        ("expect: denied", "expect: forbidden"),
        ("expect: denied", "expects: denied"),
        ("expect: denied, because", "only: from, because"),
        (", expect: denied, because: no-rule-matched", ""),
        ("port: [80, 53/udp]", "port: []"),
        ("from: a/one", "from: []"),
        ("only: from", "only: all"),
        ("table: |", "expect: allowed\n    table: |"),
        (r"from\to", "to"),
        ("table: |", "table: 7 #"),
    ] {
        let text = SCENARIO.replacen(right, wrong, 1);
        assert_ne!(text, SCENARIO, "{right}");
        if yaml::documents(&text).is_ok() {
            assert!(
                schema.complaint(&text).is_some(),
                "{wrong}: the schema takes it"
            );
        }
        assert!(
            read(&"it".into(), &text).is_err(),
            "{wrong}: flowmon takes it"
        );
    }
}
