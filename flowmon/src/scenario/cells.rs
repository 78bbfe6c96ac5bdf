//! From what is stated to cells: everyone who is meant, pair by pair, in each family of addresses.

use std::collections::{BTreeSet, HashMap};

use super::{
    Cell, Expected, Scenario, Word,
    expectation::{EVERYONE, End, Stated, What},
    peers::{Peers, problem},
};
use crate::policy::{AskedPort, Inventory, Outcome, Place, Problem};

/// Cells of one scenario: more is a mistake.
const MOST: usize = 100_000;

/// Someone at an end.
#[derive(Debug, Clone)]
struct Someone {
    word: Word,
    /// Not just one of many, so it must be possible.
    is_named: bool,
}

/// A pair and what becomes of it.
type Pair = (Someone, Someone, Outcome);

struct Expansion<'a> {
    peers: Peers<'a>,
    everyone: Vec<String>,
    cells: Vec<Cell>,
    /// What is expected already, and where that is said.
    expected: HashMap<(String, String, AskedPort), (Outcome, Place)>,
    problems: Vec<Problem>,
    told: BTreeSet<(Place, String)>,
}

/// All cells, in the order of the file.
pub(super) fn all(scenario: &Scenario, inventory: &Inventory) -> Result<Vec<Cell>, Vec<Problem>> {
    let peers = Peers {
        inventory,
        outside: &scenario.outside,
    };
    let mut expansion = Expansion {
        everyone: peers.everyone(),
        peers,
        cells: Vec::new(),
        expected: HashMap::new(),
        problems: Vec::new(),
        told: BTreeSet::new(),
    };
    for stated in &scenario.stated {
        expansion.add(stated);
        if let Some(cell) = expansion.cells.get(MOST) {
            expansion.problems = vec![too_many(&cell.expected.from)];
            break;
        }
    }
    if expansion.problems.is_empty() {
        Ok(expansion.cells)
    } else {
        Err(expansion.problems)
    }
}

impl Expansion<'_> {
    fn add(&mut self, stated: &Stated) {
        for (from, to, outcome) in self.pairs(stated) {
            let is_named = from.is_named && to.is_named;
            for port in &stated.ports {
                if self.cells.len() > MOST {
                    return;
                }
                let expected = Expected {
                    from: from.word.clone(),
                    to: to.word.clone(),
                    port: port.clone(),
                    outcome,
                    because: stated.because.clone(),
                };
                if let Err(problem) = self.cell(&expected, is_named) {
                    self.tell(problem);
                }
            }
        }
    }

    fn cell(&mut self, expected: &Expected, is_named: bool) -> Result<(), Problem> {
        let (asked, connections) = self.peers.connections(expected)?;
        if connections.is_empty() && is_named {
            let says = format!(
                "{} and {} have no addresses of the same family",
                expected.from.text, expected.to.text
            );
            return Err(problem(&expected.to, "invalid-peer", says));
        }
        let Expected {
            from, to, outcome, ..
        } = expected;
        let key = (from.text.clone(), to.text.clone(), asked);
        let place = || from.place.clone();
        let (before, at) = self
            .expected
            .entry(key)
            .or_insert_with(|| (*outcome, place()));
        if before != outcome {
            let (from, to) = (&from.text, &to.text);
            let says = format!(
                "{from} -> {to}, {asked} is expected to be {} here, and {} at {at}",
                outcome.label(),
                before.label()
            );
            return Err(problem(&expected.from, "contradiction", says));
        }
        let several = connections.len() > 1;
        self.cells.extend(connections.into_iter().map(|connection| {
            let family = if connection.responder.address.to_canonical().is_ipv4() {
                "IPv4"
            } else {
                "IPv6"
            };
            Cell {
                expected: expected.clone(),
                connection,
                family: several.then_some(family),
            }
        }));
        Ok(())
    }

    fn pairs(&mut self, stated: &Stated) -> Vec<Pair> {
        let (from, to) = (self.side(&stated.from, false), self.side(&stated.to, true));
        let many = match stated.what {
            What::Each(_) => from.len().saturating_mul(to.len()),
            What::Only(End::From, _) => self.everyone.len().saturating_mul(to.len()),
            What::Only(End::To, _) => self.everyone.len().saturating_mul(from.len()),
        };
        if many > MOST {
            self.problems.extend(stated.from.first().map(too_many));
            return Vec::new();
        }
        let mut pairs = Vec::new();
        let mut add = |from: &[Someone], to: &[Someone], outcome| {
            for from in from {
                let of_one = to.iter().filter(|to| self.is_meant(from, to));
                pairs.extend(of_one.map(|to| (from.clone(), to.clone(), outcome)));
            }
        };
        match &stated.what {
            What::Each(outcome) => add(&from, &to, *outcome),
            What::Only(end, said) => {
                let named = if *end == End::From { &from } else { &to };
                let others = self.others(named, said);
                add(&from, &to, Outcome::Allowed);
                match end {
                    End::From => add(&others, &to, Outcome::Denied),
                    End::To => add(&from, &others, Outcome::Denied),
                }
            }
        }
        pairs
    }

    /// Everyone but these.
    fn others(&self, named: &[Someone], said: &Word) -> Vec<Someone> {
        let named: BTreeSet<&str> = named.iter().map(|it| &*it.word.text).collect();
        let others = self.everyone.iter().filter(|it| !named.contains(&***it));
        others.map(|text| one_of_many(text, &said.place)).collect()
    }

    /// Of many, nobody is meant with themselves, and no two outside.
    fn is_meant(&self, from: &Someone, to: &Someone) -> bool {
        let is_outside = |who: &Someone| self.peers.outside.contains_key(&who.word.text);
        (from.is_named && to.is_named)
            || (from.word.text != to.word.text && !(is_outside(from) && is_outside(to)))
    }

    /// Everyone that these words mean.
    fn side(&mut self, words: &[Word], may_be_service: bool) -> Vec<Someone> {
        let mut found = Vec::new();
        for word in words {
            if found.len() > MOST {
                break;
            }
            let many = |text: &String| one_of_many(text, &word.place);
            if word.text == EVERYONE {
                found.extend(self.everyone.iter().map(many));
            } else if let Some(namespace) = word.text.strip_suffix("/*") {
                let pods = self.peers.pods_in(namespace);
                if pods.is_empty() {
                    let says = format!("there is no pod in `{namespace}` in this scenario");
                    self.tell(problem(word, "invalid-peer", says));
                }
                found.extend(pods.iter().map(many));
            } else if let Err(message) = self.peers.known(&word.text, may_be_service) {
                self.tell(problem(word, "invalid-peer", message));
            } else {
                found.push(Someone {
                    word: word.clone(),
                    is_named: true,
                });
            }
        }
        found
    }

    /// Each once.
    fn tell(&mut self, problem: Problem) {
        let key = (problem.place.clone(), problem.message.clone());
        if self.told.insert(key) {
            self.problems.push(problem);
        }
    }
}

fn too_many(at: &Word) -> Problem {
    let says = format!("more than {MOST} cells are expected");
    problem(at, "list-length", says)
}

fn one_of_many(text: &str, place: &Place) -> Someone {
    Someone {
        word: Word {
            text: text.to_owned(),
            place: place.clone(),
        },
        is_named: false,
    }
}
