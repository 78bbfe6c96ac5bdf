//! Reports are what their schemas say. (`JUnit`'s is XML's own, and checked in netns-tests with
//! xmllint.)

use serde_json::{Value, json};

use crate::run::{audit, audit_stdin, example, lines, record};
use crate::sarif::assert_is_sarif;

fn flows() -> String {
    example("shop-flows.jsonl")
}

#[test]
fn sarif_is_sarif_and_names_the_policies_line() {
    let finished = audit(&flows(), &["--output", "sarif"]);
    assert_eq!(finished.code, 1);
    let document: Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_is_sarif(&document);
    let results = document["runs"][0]["results"].as_array().unwrap();
    assert_eq!(results.len(), 6); // 5 groups of denied flows, 1 of undecided ones
    let location = &results[0]["locations"][0]["physicalLocation"];
    let uri = location["artifactLocation"]["uri"].as_str().unwrap();
    assert!(uri.starts_with("file:///"), "{uri}");
    let path = uri.trim_start_matches("file://");
    let file = std::fs::read_to_string(path).unwrap();
    let line = location["region"]["startLine"].as_u64().unwrap();
    assert!((1..=file.lines().count() as u64).contains(&line), "{line}");

    // The schema has teeth.
    let mut wrong = document;
    wrong["runs"][0]["results"][0]["level"] = json!("fatal");
    let checked = std::panic::catch_unwind(|| assert_is_sarif(&wrong));
    assert!(checked.is_err());
}

#[test]
fn sarif_of_nothing_is_sarif_too() {
    let finished = audit_stdin("-", &["--output", "sarif"], b"");
    assert_eq!(finished.code, 0);
    assert_is_sarif(&serde_json::from_str(&finished.stdout).unwrap());
}

#[test]
fn junit_has_a_case_for_each_policy_and_direction_and_for_what_is_not_known() {
    let cases = |args: &[&str]| {
        let finished = audit(&flows(), &[&["--output", "junit"], args].concat());
        let xml = finished.stdout;
        let blocks: Vec<(String, &str)> = xml
            .split("<testcase ")
            .skip(1)
            .map(|block| {
                let name = block.split('"').nth(3).unwrap().to_owned();
                let verdict = ["<failure", "<error", "<skipped"]
                    .into_iter()
                    .find(|verdict| block.contains(verdict))
                    .unwrap_or("passed");
                (name, verdict)
            })
            .collect();
        blocks
    };
    let verdict = |cases: &[(String, &'static str)], name: &str| {
        let case = cases.iter().find(|(case, _)| case == name);
        case.map(|(_, verdict)| *verdict)
    };
    let usual = cases(&[]);
    assert_eq!(usual.len(), 7, "{usual:#?}");
    for (name, expected) in [
        ("shop/default-deny egress", "<failure"),
        ("undefined-protocol", "<skipped"),
        ("complete", "passed"),
    ] {
        assert_eq!(verdict(&usual, name), Some(expected), "{usual:#?}");
    }
    let strict = cases(&["--fail-on", "undecided"]);
    assert_eq!(verdict(&strict, "undefined-protocol"), Some("<error"));
    let lenient = cases(&["--fail-on", "never"]);
    assert!(
        lenient
            .iter()
            .all(|(_, verdict)| ["passed", "<skipped"].contains(verdict))
    );
}

#[test]
fn the_table_is_readable() {
    let finished = audit(&flows(), &[]);
    let first = finished.stdout.lines().next().unwrap();
    assert_eq!(
        first,
        "28 records, 13 flows: 4 allowed, 7 denied, 1 undecided, 1 not judged"
    );
    let row = finished
        .stdout
        .lines()
        .find(|line| line.contains("tcp/6380"))
        .unwrap();
    let cells: Vec<_> = row.split_whitespace().collect();
    assert_eq!(
        cells,
        [
            "shop/cart-0",
            "->",
            "shop/redis-0",
            "tcp/6380",
            "1",
            "256",
            "2026-11-22T10:00:03Z",
            "2026-11-22T10:00:04Z",
        ]
    );
    // A flow without a port, and one of unknown direction, have their own ways.
    let unknown = record("unknown", ("10.1.0.5", 40_000), ("10.1.0.9", 6379));
    let finished = audit_stdin("-", &[], lines(&[unknown]).as_bytes());
    assert!(
        finished.stdout.contains("shop/cart-0 ?? shop/redis-0 tcp"),
        "{}",
        finished.stdout
    );
}
