//! The cases of Kubernetes' network policy suite and of well-known recipes, by real traffic: each of
//! their expectations is a connection that is made, seen, and judged as they say.
//!
//! `flowmon/tests/policy/cases/netpol.cases` has them, and says where they are from.

use std::{collections::BTreeMap, fmt::Write as _};

use netns_tests::require_root;

use super::{Folder, TestResult, played};

const CASES: &str = include_str!("../../../flowmon/tests/policy/cases/netpol.cases");

/// A policy that is about nobody, as a scenario is about policies.
const OF_NOBODY: &str = "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: nobody, namespace: nowhere}
spec: {podSelector: {}}
";

#[derive(Debug, Clone, Default)]
struct Cast {
    /// Labels by namespace.
    namespaces: BTreeMap<String, String>,
    /// Address, labels and ports by pod.
    pods: BTreeMap<String, [String; 3]>,
}

#[derive(Default)]
struct Reading<'a> {
    everybody: Cast,
    of_case: Cast,
    of_step: Cast,
    policies: String,
    probe: Option<&'a str>,
    denied: Vec<(&'a str, &'a str)>,
    expected: Vec<String>,
    cases: usize,
    /// Scenario and policies of each step.
    steps: Vec<(String, String)>,
}

/// `a=b,c=d` as a YAML mapping.
fn mapping(labels: &str) -> String {
    let labels = labels.split(',').filter_map(|it| it.split_once('='));
    let labels = labels.map(|(key, value)| format!("{key}: '{value}'"));
    labels.collect::<Vec<_>>().join(", ")
}

impl Cast {
    fn add(&mut self, words: &[&str]) {
        match words {
            ["namespace", name, labels @ ..] => {
                let labels = labels.first().map(|it| mapping(it)).unwrap_or_default();
                self.namespaces.insert((*name).to_owned(), labels);
            }
            ["pod", name, address, labels, ports @ ..] => {
                let ports = ports.iter().filter_map(|port| {
                    let mut words = port.split('/');
                    let (number, protocol) = (words.next()?, words.next()?);
                    Some(format!("{}: {number}/{protocol}", words.next()?))
                });
                let ports = ports.collect::<Vec<_>>().join(", ");
                let pod = [(*address).to_owned(), mapping(labels), ports];
                self.pods.insert((*name).to_owned(), pod);
            }
            _ => panic!("{words:?}"),
        }
    }
}

impl<'a> Reading<'a> {
    fn line(&mut self, line: &'a str) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let words: Vec<&str> = line.split(' ').collect();
        match (word, &words[1..]) {
            ("case", _) => {
                self.end_of_step();
                self.cases += 1;
                self.of_case = self.everybody.clone();
            }
            ("namespace" | "pod", _) if self.cases == 0 => self.everybody.add(&words),
            ("namespace" | "pod", _) => {
                // A case of its own cluster begins with its namespaces.
                if word == "namespace" && self.of_case.pods.len() == 9 {
                    self.of_case = Cast::default();
                }
                self.of_case.add(&words);
            }
            ("step", _) => {
                self.end_of_step();
                self.of_step = self.of_case.clone();
            }
            ("relabel", [who, with]) => {
                let cast = &mut self.of_step;
                let of_pod = cast.pods.get_mut(*who).map(|[_, labels, _]| labels);
                let labels = of_pod.or_else(|| cast.namespaces.get_mut(*who));
                let labels = labels.unwrap_or_else(|| panic!("{line}"));
                if !labels.is_empty() {
                    *labels += ", ";
                }
                *labels += &mapping(with);
            }
            ("policy", _) => {
                let (name, spec) = rest.split_once(' ').unwrap_or_else(|| panic!("{line}"));
                let (namespace, name) = name.split_once('/').unwrap_or_else(|| panic!("{line}"));
                let _infallible = writeln!(
                    self.policies,
                    "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
                     metadata: {{name: '{name}', namespace: '{namespace}'}}\nspec: {spec}"
                );
            }
            ("probe", [probe]) => self.probe = Some(probe),
            ("deny", [from, to @ ..]) => self.denied.extend(to.iter().map(|to| (*from, *to))),
            ("flow", [from, to, port, outcome]) => self.expect(from, to, port, outcome),
            _ => panic!("{line}"),
        }
    }

    fn expect(&mut self, from: &str, to: &str, port: &str, outcome: &str) {
        let cell = format!("{{from: '{from}', to: '{to}', port: {port}, expect: {outcome}}}");
        self.expected.push(cell);
    }

    /// A step is a scenario.
    fn end_of_step(&mut self) {
        let denied = std::mem::take(&mut self.denied);
        if let Some(probe) = self.probe.take() {
            let pods: Vec<String> = self.of_step.pods.keys().cloned().collect();
            for from in &pods {
                for to in pods.iter().filter(|to| *to != from) {
                    let is_denied = denied.contains(&(from, to));
                    let outcome = if is_denied { "denied" } else { "allowed" };
                    self.expect(from, to, probe, outcome);
                }
            }
        }
        let policies = std::mem::take(&mut self.policies);
        let expected = std::mem::take(&mut self.expected);
        if expected.is_empty() {
            return;
        }
        let number = self.steps.len();
        let mut scenario = format!("policies: step-{number:02}.yaml\nnamespaces:\n");
        for (name, labels) in &self.of_step.namespaces {
            let _infallible = writeln!(scenario, "  '{name}': {{{labels}}}");
        }
        scenario += "pods:\n";
        for (name, [address, labels, ports]) in &self.of_step.pods {
            let _infallible = writeln!(
                scenario,
                "  {name}: {{addresses: {address}, labels: {{{labels}}}, ports: {{{ports}}}}}"
            );
        }
        scenario += "expect:\n";
        for cell in &expected {
            let _infallible = writeln!(scenario, "  - {cell}");
        }
        self.steps
            .push((scenario, format!("{OF_NOBODY}{policies}")));
    }
}

#[test]
fn every_expectation_of_the_kubernetes_suite_holds_by_real_traffic() -> TestResult {
    const TEST: &str = "every_expectation_of_the_kubernetes_suite_holds_by_real_traffic";
    if !require_root(TEST) {
        return Ok(());
    }
    let mut reading = Reading::default();
    let lines = CASES.lines().filter(|line| !line.starts_with('#'));
    for line in lines.filter(|line| !line.is_empty()) {
        reading.line(line);
    }
    reading.end_of_step();
    let folder = Folder::new("kubernetes")?;
    for (number, (scenario, policies)) in reading.steps.iter().enumerate() {
        folder.file(&format!("step-{number:02}.scenario.yaml"), scenario)?;
        folder.file(&format!("step-{number:02}.yaml"), policies)?;
    }
    let (finished, cells, summary) = played(&folder.path())?;
    for cell in &cells {
        assert_eq!(cell["met"], true, "{cell}");
        assert_eq!(cell["traffic"]["result"], "seen", "{cell}");
        assert_eq!(cell["traffic"]["outcome"], cell["expected"], "{cell}");
    }
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert_eq!((reading.cases, cells.len()), (63, 4716));
    assert_eq!(
        (&summary["failed"], &summary["seen"]),
        (&0.into(), &4716.into())
    );
    Ok(())
}
