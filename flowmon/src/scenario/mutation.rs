//! How good is a test? What is changed in the policies must be noticed by some expectation.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::{
    Cell, judge,
    mutants::{self, Mutant},
    peers::{self, Peers},
};
use crate::policy::{
    AskedPort, Connection, Inventory, Outcome, Place, PolicySet, Ruleset, Settings, connections,
    inventory::{Pod, PodId},
    model::{PortMatch, PortProtocol, Ports},
    verdict::End,
};

/// Ends that are asked about beside the cells: so many that are not the same to policies.
const MOST_ENDS: usize = 64;

/// What became of a mutant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// The first cell that is not met by it is expected here.
    Noticed(Place),
    /// All cells are met, though it makes a difference.
    Survives(Difference),
    /// It makes no difference to anybody of the cast, at any port that is named: the other end decides the
    /// same, or who would be concerned is missing.
    MakesNoDifference,
}

/// What nobody expects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Who.
    pub from: String,
    /// To whom.
    pub to: String,
    /// Where.
    pub port: AskedPort,
    /// What it is.
    pub is: Outcome,
    /// What the mutant makes of it.
    pub becomes: Outcome,
}

/// Policies, and by whom they are tried.
#[derive(Debug, Clone, Copy)]
pub struct Trial<'a> {
    /// Those that are changed.
    pub policies: &'a PolicySet,
    /// The cast.
    pub inventory: &'a Inventory,
    /// And outside.
    pub outside: &'a BTreeMap<String, IpAddr>,
    /// What Kubernetes leaves open.
    pub settings: Settings,
}

impl<'a> Trial<'a> {
    /// The pod at an end.
    pub(super) fn pod(&self, end: &'a End) -> Option<(&'a PodId, &'a Pod)> {
        let id = end.pod.as_ref()?;
        Some((id, self.inventory.pods.get(id)?))
    }

    pub(super) fn compile(&self, policies: &PolicySet) -> Ruleset {
        Ruleset::compile(policies, self.inventory, self.settings)
    }
}

/// Changes one thing after the other in policies by which all `cells` are met.
pub fn mutate(trial: &Trial<'_>, cells: &[Cell]) -> Vec<(Mutant, Fate)> {
    let questions = questions(trial, cells, &trial.compile(trial.policies));
    let fate = |mutant: Mutant| {
        let ruleset = trial.compile(&mutant.set(trial.policies));
        let is_unmet = |cell: &&Cell| {
            let verdicts = ruleset.judge(&cell.connection);
            judge::failure(&verdicts, &cell.expected).is_some()
        };
        if let Some(cell) = cells.iter().find(is_unmet) {
            return (mutant, Fate::Noticed(cell.expected.from.place.clone()));
        }
        let differs = |question: &Question| {
            let becomes = ruleset.judge(&question.connection).outcome();
            (becomes != question.is).then(|| Difference {
                from: question.from.clone(),
                to: question.to.clone(),
                port: question.port,
                is: question.is,
                becomes,
            })
        };
        let fate = match questions.iter().find_map(differs) {
            Some(difference) => Fate::Survives(difference),
            None => Fate::MakesNoDifference,
        };
        (mutant, fate)
    };
    mutants::all(trial.policies).map(fate).collect()
}

/// A cell that might be.
pub(super) struct Question {
    from: String,
    to: String,
    port: AskedPort,
    pub(super) connection: Connection,
    pub(super) is: Outcome,
}

/// What might be expected, and what it is by these rules.
pub(super) fn questions(trial: &Trial<'_>, cells: &[Cell], ruleset: &Ruleset) -> Vec<Question> {
    let Trial {
        inventory, outside, ..
    } = *trial;
    let ends = ends(&Peers { inventory, outside });
    let ports = ports(trial.policies, inventory, cells);
    let mut all = Vec::new();
    for (from, of_initiator) in &ends {
        for (to, of_responder) in ends.iter().filter(|(to, _)| to != from) {
            for port in &ports {
                let found = connections(inventory, of_initiator, of_responder, *port);
                all.extend(found.into_iter().flatten().map(|connection| Question {
                    from: from.clone(),
                    to: to.clone(),
                    port: *port,
                    is: ruleset.judge(&connection).outcome(),
                    connection,
                }));
            }
        }
    }
    all
}

/// Names and what they stand for; two of those that policies can't tell apart, for what these have to do
/// with one another.
fn ends(peers: &Peers<'_>) -> Vec<(String, String)> {
    let mut known: BTreeMap<_, u8> = BTreeMap::new();
    let is_other = |name: &String| {
        let Some(id) = peers::id(name) else {
            return true;
        };
        let pod = peers.inventory.pods.get(&id);
        let pod = pod.map(|pod| (&pod.labels, &pod.ports));
        let alike = known.entry((id.namespace, pod)).or_default();
        *alike = alike.saturating_add(1);
        *alike <= 2
    };
    let all = peers.everyone().into_iter().filter(is_other);
    all.take(MOST_ENDS)
        .map(|name| {
            let address = peers.outside.get(&name).map(ToString::to_string);
            (name.clone(), address.unwrap_or(name))
        })
        .collect()
}

/// Ports that somebody names, and one of each protocol that hardly anybody does.
fn ports(policies: &PolicySet, inventory: &Inventory, cells: &[Cell]) -> BTreeSet<AskedPort> {
    let of = |protocol: PortProtocol, number| AskedPort {
        protocol: protocol.number(),
        number: Some(number),
    };
    let in_cells = cells.iter().map(|cell| AskedPort {
        protocol: cell.connection.protocol,
        number: cell.connection.port,
    });
    let named = inventory.pods.values().flat_map(|pod| &pod.ports);
    let named = named.map(|port| of(port.protocol, port.port));
    let policies = policies.policies.iter();
    let rules = policies.flat_map(|policy| policy.ingress.iter().chain(&policy.egress).flatten());
    let listed = rules.flat_map(|rule| match &rule.ports {
        Ports::All => &[][..],
        Ports::OneOf(ports) => ports,
    });
    let in_rules = listed.flat_map(|port| match port.what {
        PortMatch::Range {
            protocol,
            first,
            last,
        } => vec![of(protocol, first), of(protocol, last)],
        PortMatch::Protocol(_) | PortMatch::Named { .. } => Vec::new(),
    });
    let others = [PortProtocol::Tcp, PortProtocol::Udp, PortProtocol::Sctp];
    let others = others.into_iter().map(|protocol| of(protocol, 1));
    in_cells
        .chain(named)
        .chain(in_rules)
        .chain(others)
        .collect()
}
