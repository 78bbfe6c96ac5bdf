//! What is read, and what is refused where.

#![expect(clippy::indexing_slicing, reason = "a test may fail by panicking")]

use std::sync::Arc;

use super::{Documents, read};
use crate::policy::{Problem, Severity, model::Policy, rules};

mod admin;
mod json;
mod network_policy;

fn of(text: &str) -> Documents {
    read([(Arc::from("a.yaml"), text)])
}

/// The one policy of a text that has nothing wrong.
fn policy(text: &str) -> Policy {
    let documents = of(text);
    assert_eq!(documents.problems, [], "{text}");
    assert_eq!(documents.set.policies.len(), 1);
    Policy::clone(&documents.set.policies[0])
}

/// Each problem as `severity line:column rule path`.
fn problems(documents: &Documents) -> Vec<String> {
    let line = |problem: &Problem| {
        assert!(rules::meaning(problem.rule).is_some(), "{}", problem.rule);
        let place = &problem.place;
        let severity = match problem.severity {
            Severity::Error => "E",
            Severity::Warning => "W",
            Severity::Note => "N",
        };
        let path = &place.path;
        format!(
            "{severity} {}:{} {} {path}",
            place.line, place.column, problem.rule
        )
    };
    documents.problems.iter().map(line).collect()
}

fn network_policy(spec: &str) -> String {
    let spec = spec.replace('\n', "\n  ");
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: a\nspec:\n  {spec}\n"
    )
}

/// What is wrong with a `spec`, which begins in line 6, column 3.
fn wrong(spec: &str) -> Vec<String> {
    let documents = of(&network_policy(spec));
    let has_error = documents.errors().next().is_some();
    assert_eq!(documents.set.policies.is_empty(), has_error, "{spec}");
    problems(&documents)
}

#[test]
fn one_bad_document_does_not_hide_the_others() {
    let good = network_policy("podSelector: {}");
    let text = format!(
        "# nothing\n---\n{good}---\nfoo: [\n--- # and\n{}--- bad\n{}---\n{good}",
        good.replace("name: a", "name: b"),
        good.replace("name: a", "name: c"),
    );
    let documents = of(&text);
    let names: Vec<_> = documents
        .set
        .policies
        .iter()
        .map(|it| it.id.to_string())
        .collect();
    assert_eq!(names, ["default/a", "default/b", "default/c"]);
    assert_eq!(
        problems(&documents),
        [
            "E 10:6 syntax ",
            "E 18:1 syntax ",
            "E 26:1 duplicate-policy "
        ]
    );
    assert!(documents.problems[2].message.contains("at a.yaml:3:1"));
}

#[test]
fn lists_are_unpacked() {
    let item = |name: &str| {
        format!(r#"{{"metadata": {{"name": "{name}"}}, "spec": {{"podSelector": {{}}}}}}"#)
    };
    let typed = format!(
        r#"{{"apiVersion": "networking.k8s.io/v1", "items": [{}, {}], "kind": "NetworkPolicyList",
            "metadata": {{"resourceVersion": ""}}}}"#,
        item("a"),
        item("b")
    );
    let text = format!(
        "{typed}\n{{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": [{}, 3]}}",
        typed
            .replace(r#""a""#, r#""c""#)
            .replace(r#""b""#, r#""d""#)
    );
    let documents = of(&text);
    let names: Vec<_> = documents
        .set
        .policies
        .iter()
        .map(|it| &*it.id.name)
        .collect();
    assert_eq!(names, ["a", "b", "c", "d"]);
    assert_eq!(documents.set.policies[1].place.line, 1);
    assert_eq!(problems(&documents), ["E 4:51 no-object "]);
}

#[test]
fn other_kinds_are_counted_and_other_policies_named() {
    let documents = of("{apiVersion: v1, kind: Service}
---
{apiVersion: v1, kind: Service}
---
{apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy}
---
{apiVersion: projectcalico.org/v3, kind: NetworkPolicy}
---
{apiVersion: crd.antrea.io/v1beta1, kind: ClusterNetworkPolicy}
---
{apiVersion: extensions/v1beta1, kind: NetworkPolicy}
---
{apiVersion: policy.networking.k8s.io/v1alpha1, kind: ClusterNetworkPolicy}
---
{apiVersion: projectcalico.org/v3, kind: StagedNetworkPolicy}
---
{kind: NetworkPolicy}
");
    assert_eq!(documents.others["Service"], 2);
    assert_eq!(documents.others["StagedNetworkPolicy"], 1);
    let found = problems(&documents);
    let unsupported = found
        .iter()
        .filter(|it| it.contains("unsupported-policy"))
        .count();
    assert_eq!((found.len(), unsupported), (6, 5), "{found:?}");
    assert_eq!(found[5], "E 17:1 no-object ");
}

#[test]
fn yaml_is_read_as_the_clients_of_the_api_server_do() {
    let text = "defaults: &d {app: web}
x: &l [a, *d]
apiVersion: 'networking.k8s.io/v1'
kind: !!str NetworkPolicy
";
    let found = problems(&of(&format!(
        "{text}metadata: {{name: a}}\nspec: {{podSelector: {{matchLabels: {{<<: *d, b: c}}}}}}"
    )));
    assert_eq!(
        found,
        ["E 1:1 unknown-field defaults", "E 2:1 unknown-field x"]
    );
    for (spec, fine) in [
        ("podSelector: {matchLabels: {<<: {a: b}, a: c}}", true),
        ("podSelector: {matchLabels: {1: b, yes: c}}", true),
        ("podSelector: {matchLabels: {a: 2020-01-01}}", true),
        ("podSelector: {matchLabels: {a: !!str 1}}", true),
        ("podSelector: {matchLabels: {a: }}", true),
        (
            "podSelector: {}\ningress: [{ports: [{port: 0x50}, {port: 80.0}]}]",
            true,
        ),
        ("podSelector: {matchLabels: {a: !other 1}}", false),
        ("podSelector: &a {matchLabels: *a}", false),
        ("podSelector: {matchLabels: *unknown}", false),
        ("podSelector: {? [a] : b}", false),
        ("podSelector: {}\n...\nfoo: bar", false),
    ] {
        assert_eq!(wrong(spec).is_empty(), fine, "{spec}");
    }
}

#[test]
fn an_alias_bomb_is_refused() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..40 {
        let below = format!("*a{}", level - 1);
        let line = format!(
            "a{level}: &a{level} [{}]
",
            [below.as_str(); 10].join(", ")
        );
        text.push_str(&line);
    }
    let found = problems(&of(&text));
    assert_eq!(found.len(), 1);
    assert!(found[0].contains("syntax"), "{found:?}");
    for deep in [
        "[".repeat(100_000),
        "{\"a\":".repeat(100_000),
        "- ".repeat(100_000),
    ] {
        assert_eq!(problems(&of(&deep)).len(), 1);
    }
}
