//! `flowmon test --static`: the recipes, and what becomes of them when somebody breaks them.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail by panicking"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const SCENARIO: &str = "policies: it.yaml
pods:
  a/one: {addresses: 10.0.0.1}
  a/two: {addresses: 10.0.0.2}
expect:
  - {from: a/one, to: a/two, port: 80, expect: denied}
";
const POLICY: &str = "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed, namespace: a}
spec: {podSelector: {}}
";

fn recipes() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies")
}

/// Exit code, stdout and stderr.
fn run(paths: &[&Path], more: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_flowmon"))
        .arg("test")
        .args(more)
        .args(paths)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let code = output.status.code().unwrap();
    (code, text(output.stdout), text(output.stderr))
}

/// A folder with one scenario and its policy.
fn folder(test: &str, scenario: &str, policy: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("scenarios")
        .join(test);
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("it.scenario.yaml");
    fs::write(&file, scenario).unwrap();
    fs::write(folder.join("it.yaml"), policy).unwrap();
    file
}

#[test]
fn the_recipes_do_what_their_scenarios_say() {
    let (code, said, complaint) = run(&[&recipes()], &["--static"]);
    assert_eq!(code, 0, "{said}{complaint}");
    assert!(
        said.contains(" scenarios, judged without traffic: 0 not met"),
        "{said}"
    );
}

/// Every policy of the recipes is tried by a scenario beside it, and told of in the index.
#[test]
fn every_recipe_has_its_scenario_and_its_line() {
    let index = fs::read_to_string(recipes().join("README.md")).unwrap();
    let mut count = 0;
    for entry in fs::read_dir(recipes().join("recipes")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let Some(name) = name
            .strip_suffix(".yaml")
            .filter(|name| !name.contains('.'))
        else {
            continue;
        };
        count += 1;
        assert!(path.with_extension("scenario.yaml").exists(), "{name}");
        assert!(index.contains(&format!("(recipes/{name}.yaml)")), "{name}");
    }
    assert!(count >= 18, "{count}");
}

#[test]
fn whatever_is_changed_in_the_policies_is_noticed() {
    let (code, said, complaint) = run(&[&recipes()], &["--mutate"]);
    assert_eq!(code, 0, "{said}{complaint}");
    assert!(said.contains(" 0 survive (100 % noticed)"), "{said}");
}

#[test]
fn what_nobody_notices_is_told_with_what_to_expect() {
    const TEST: &str = "survivors";
    let file = folder(TEST, SCENARIO, POLICY);
    let (code, said, _) = run(&[&file], &["--mutate"]);
    assert_eq!(code, 0, "{said}");
    let policy = "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed, namespace: a}
spec:
  podSelector: {}
  ingress:
  - ports: [{port: 443}]
";
    let file = folder(TEST, SCENARIO, policy);
    let (code, said, _) = run(&[&file], &["--mutate"]);
    assert_eq!(code, 1, "{said}");
    // One notices that everything is open, nobody that nothing is.
    for part in [
        "SURVIVES  NetworkPolicy a/closed ingress[0]: is not there (",
        "it.yaml:7)\n          a/one -> a/two, 443/tcp: denied instead of allowed\n",
        "4 mutants by 1 scenario: 3 noticed, 1 survive (75 % noticed), 0 make no difference",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let (code, said, _) = run(&[&file], &["--mutate", "--output", "json"]);
    assert_eq!(code, 1);
    let lines: Vec<serde_json::Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let fates: Vec<&str> = lines
        .iter()
        .filter_map(|line| line["fate"].as_str())
        .collect();
    assert_eq!(fates.len(), 4);
    assert_eq!(fates.iter().filter(|it| **it == "survives").count(), 1);
    assert_eq!(lines[4]["survivors"], 1);
    let (code, said, _) = run(&[&file], &["--mutate", "--output", "junit"]);
    assert_eq!(code, 1);
    assert!(said.contains("tests=\"4\" failures=\"1\""), "{said}");
    // What is not as expected comes first.
    let file = folder(TEST, &SCENARIO.replace("denied", "allowed"), policy);
    let (code, said, _) = run(&[&file], &["--mutate"]);
    assert_eq!(code, 1);
    assert!(
        said.contains("FAIL  a/one -> a/two") && !said.contains("mutant"),
        "{said}"
    );
}

#[test]
fn a_failure_says_why_and_what_would_help() {
    const TEST: &str = "failure";
    let file = folder(TEST, &SCENARIO.replace("denied", "allowed"), POLICY);
    let (code, said, _) = run(&[&file], &["--static"]);
    assert_eq!(code, 1);
    for part in [
        "FAIL",
        "expected allowed, it is denied",
        "it.scenario.yaml:6",
        "no-rule-matched",
        "This policy would allow it",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let (code, said, _) = run(&[&file], &["--static", "--output", "json"]);
    assert_eq!(code, 1);
    let lines: Vec<serde_json::Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["met"], false);
    assert_eq!(lines[0]["explanation"]["outcome"], "denied");
    assert_eq!(lines[1]["failed"], 1);
    let (code, said, _) = run(&[&file], &["--static", "--output", "junit"]);
    assert_eq!(code, 1);
    assert!(said.contains("tests=\"1\" failures=\"1\""), "{said}");
    // Right, and for another reason than was meant.
    let because = SCENARIO.replace("expect: denied", "expect: denied, because: a/other");
    let file = folder(TEST, &because, POLICY);
    let (code, said, _) = run(&[&file], &["--static"]);
    assert_eq!(code, 1);
    assert!(
        said.contains("not because of a/other: no-rule-matched (a/closed)"),
        "{said}"
    );
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    const TEST: &str = "wrong";
    for (right, wrong, line, says) in [
        ("expect:\n", "expected:\n", 5, "unknown field `expected`"),
        (
            "10.0.0.2",
            "10.0.0.1",
            4,
            "10.0.0.1 is the address of a/one already",
        ),
        ("to: a/two", "to: a/three", 6, "there is no pod `a/three`"),
        ("from: a/one", "from: one", 6, "`one` is no outside peer"),
        ("port: 80", "port: web", 6, "a name of a port of a/two"),
        (
            "policies: it.yaml",
            "policies: gone.yaml",
            1,
            "there is no such file",
        ),
        (
            "expect: denied",
            "expect: maybe",
            6,
            "expected allowed, denied or undecided",
        ),
        ("a/two: {", "two: {", 4, "expected NAMESPACE/NAME"),
        (
            "addresses: 10.0.0.2",
            "address: 10.0.0.2",
            4,
            "unknown field `address`",
        ),
    ] {
        let file = folder(TEST, &SCENARIO.replacen(right, wrong, 1), POLICY);
        let (code, said, complaint) = run(&[&file], &["--static"]);
        assert_eq!((code, &*said), (2, ""), "{wrong}: {complaint}");
        let place = format!("it.scenario.yaml:{line}:");
        assert!(
            complaint.contains(&place) && complaint.contains(says),
            "{wrong}: {complaint}"
        );
    }
    let file = folder(TEST, SCENARIO, &POLICY.replace("podSelector", "podSelect"));
    let (code, _, complaint) = run(&[&file], &["--static"]);
    assert_eq!(code, 2);
    assert!(complaint.contains("it.yaml:4:"), "{complaint}");
}

const LEAK: &str = "policies: it.yaml
pods:
  a/web: {labels: {app: web}}
  a/api: {labels: {app: api}}
  a/db: {labels: {app: db}}
  b/api: {labels: {app: api}}
expect:
  - {from: a/api, to: a/db, port: 5432, only: from}
";

/// What is told of a leak through a policy about the database with these rules.
fn leak(test: &str, app: &str, ingress: &str) -> String {
    let policy = format!(
        "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{name: db-ingress, namespace: a}}
spec:
  podSelector: {{matchLabels: {{app: {app}}}}}
  ingress: {ingress}
"
    );
    let (code, said, complaint) = run(&[&folder(test, LEAK, &policy)], &["--static"]);
    assert_eq!(code, 1, "{said}{complaint}");
    said
}

#[test]
fn what_should_be_denied_is_told_what_would_deny_it() {
    const TEST: &str = "leak";
    let api = "{from: [{podSelector: {matchLabels: {app: api}}}]}";
    let would = "This would deny it, and leave all else that is expected as it is:\n        ";
    for (app, ingress, fix) in [
        // A rule that nobody needs, a selector that is too wide, everyone.
        (
            "db",
            format!("[{api}, {{from: [{{podSelector: {{matchLabels: {{app: web}}}}}}]}}]"),
            "NetworkPolicy a/db-ingress ingress[1]: is not there (",
        ),
        (
            "db",
            "[{from: [{podSelector: {}}], ports: [{port: 5432}]}]".to_owned(),
            "NetworkPolicy a/db-ingress ingress[0]: is for pods with app=api only (",
        ),
        (
            "db",
            "[{from: [{namespaceSelector: {}, podSelector: {matchLabels: {app: api}}}]}]"
                .to_owned(),
            "NetworkPolicy a/db-ingress ingress[0]: is for pods in namespace a only (",
        ),
    ] {
        let said = leak(TEST, app, &ingress);
        assert!(said.contains(&format!("{would}{fix}")), "{ingress}: {said}");
    }
    // Nobody isolates it: a policy that does, under a name that is free.
    let said = leak(TEST, "none", "[]");
    for part in [
        "This policy would deny it, and leave all else that is expected as it is:",
        "          name: db-ingress-2\n",
        "            matchLabels:\n              app: db\n",
        "                matchLabels:\n                  app: api\n            ports:\n            - protocol: TCP\n              port: 5432\n",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    // Two rules let it through: only the other end can be closed by one change.
    let web = "{from: [{podSelector: {matchLabels: {app: web}}}]}";
    let said = leak(TEST, "db", &format!("[{api}, {web}, {web}]"));
    assert!(said.contains("          name: web-egress\n"), "{said}");
}

#[test]
fn the_schema_is_printed() {
    let (code, said, _) = run(&[], &["--schema"]);
    assert_eq!((code, &*said), (0, flowmon::scenario::SCHEMA));
}
