//! What the authors of network policies expect of it: `cases/netpol.cases`.

use super::world::{World, id, labels, np};

const CASES: &str = include_str!("cases/netpol.cases");

#[derive(Default)]
struct Reading<'a> {
    everybody: World,
    of_case: World,
    world: World,
    policies: Vec<String>,
    probe: Option<&'a str>,
    denied: Vec<(&'a str, &'a str)>,
    name: &'a str,
    cases: usize,
    expectations: usize,
}

impl<'a> Reading<'a> {
    fn line(&mut self, line: &'a str) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let words: Vec<&str> = rest.split(' ').collect();
        match (word, &words[..]) {
            ("case", _) => {
                self.check();
                self.name = rest;
                self.cases += 1;
                self.of_case = self.everybody.clone();
            }
            ("namespace" | "pod", _) if self.cases == 0 => self.everybody.add(line),
            ("namespace" | "pod", _) => {
                // A case of its own cluster begins with its namespaces.
                if word == "namespace" && self.of_case.inventory.pods.len() == 9 {
                    self.of_case = World::default();
                }
                self.of_case.add(line);
            }
            ("step", _) => {
                self.check();
                self.world = self.of_case.clone();
            }
            ("relabel", [who, with]) => {
                let inventory = &mut self.world.inventory;
                let own = if who.contains('/') {
                    &mut inventory.pods.get_mut(&id(who)).unwrap().labels
                } else {
                    inventory.namespaces.get_mut(*who).unwrap()
                };
                own.extend(labels(with));
            }
            ("policy", _) => {
                let (name, spec) = rest.split_once(' ').unwrap();
                self.policies.push(np(name, spec));
            }
            ("probe", [probe]) => self.probe = Some(probe),
            ("deny", [from, to @ ..]) => self.denied.extend(to.iter().map(|to| (*from, *to))),
            ("flow", [from, to, port, expected]) => {
                self.world.declare(&self.policies.join("---\n"));
                self.expect(&format!("{from} > {to} {port}"), *expected == "allowed");
            }
            _ => panic!("{line}"),
        }
    }

    /// Everyone asks everyone, at the end of a step.
    fn check(&mut self) {
        let (policies, denied) = (
            std::mem::take(&mut self.policies),
            std::mem::take(&mut self.denied),
        );
        let Some(probe) = self.probe.take() else {
            return;
        };
        self.world.declare(&policies.join("---\n"));
        let pods: Vec<String> = (self.world.inventory.pods.keys())
            .map(|id| format!("{}/{}", id.namespace, id.name))
            .collect();
        for from in &pods {
            for to in pods.iter().filter(|to| *to != from) {
                let is_denied = denied.contains(&(from, to));
                self.expect(&format!("{from} > {to} {probe}"), !is_denied);
            }
        }
    }

    fn expect(&mut self, question: &str, passes: bool) {
        self.expectations += 1;
        assert_eq!(
            self.world.passes(question),
            passes,
            "{}: {question}",
            self.name
        );
    }
}

#[test]
fn every_expectation_of_the_kubernetes_suite_and_the_recipes_holds() {
    let mut reading = Reading::default();
    let lines = CASES.lines().filter(|line| !line.starts_with('#'));
    for line in lines.filter(|line| !line.is_empty()) {
        reading.line(line);
    }
    reading.check();
    assert_eq!((reading.cases, reading.expectations), (63, 4716));
}
