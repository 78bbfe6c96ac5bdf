//! How good is a test? What is changed in the policies must be noticed by some expectation.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Cell, judge,
    mutants::{self, Mutant},
    peers::{self, Peers},
};
use crate::policy::{
    AskedPort, Connection, Inventory, Outcome, Place, PolicySet, Ruleset, Settings, connections,
    model::{PortMatch, PortProtocol, Ports},
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

/// Changes one thing after the other in `policies`, by which all `cells` are met.
pub fn mutate(
    policies: &PolicySet,
    inventory: &Inventory,
    outside: &BTreeMap<String, std::net::IpAddr>,
    settings: Settings,
    cells: &[Cell],
) -> Vec<(Mutant, Fate)> {
    let ruleset = Ruleset::compile(policies, inventory, settings);
    let peers = Peers { inventory, outside };
    let questions = questions(&peers, &ports(policies, inventory, cells), &ruleset);
    let fate = |mutant: Mutant| {
        let ruleset = Ruleset::compile(&mutant.set(policies), inventory, settings);
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
    mutants::all(policies).into_iter().map(fate).collect()
}

/// A cell that might be.
struct Question {
    from: String,
    to: String,
    port: AskedPort,
    connection: Connection,
    is: Outcome,
}

fn questions(peers: &Peers<'_>, ports: &BTreeSet<AskedPort>, ruleset: &Ruleset) -> Vec<Question> {
    let ends = ends(peers);
    let mut all = Vec::new();
    for (from, of_initiator) in &ends {
        for (to, of_responder) in ends.iter().filter(|(to, _)| to != from) {
            for port in ports {
                let found = connections(peers.inventory, of_initiator, of_responder, *port);
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
