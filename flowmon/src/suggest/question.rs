//! What somebody has to answer before it can be a rule.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::{Seen, Sighting};
use crate::{
    audit::{End, Flow, Who},
    model::Direction,
    policy::{Inventory, Outcome, Reason, Ruleset, Verdict, Verdicts, model::PolicyId},
};

/// Questions that are told one by one.
const TOLD: usize = 100;
/// Questions that are told apart.
const MOST: usize = 4096;

/// Why there is no rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Why {
    /// The judgement needs to know more.
    Undecided(Reason),
    /// A policy that comes first denies it.
    DeniedBy(PolicyId),
    /// The endpoint or its peer is not in the inventory.
    Unknown,
    /// The port is one that connections get by chance.
    Ephemeral(u16),
    /// Its protocol has no ports, and is denied.
    NoPorts,
    /// It comes from a port of a service, and goes to none.
    Answer,
    /// The suggestion does not allow it, for what is said beside the rules.
    NotAllowed,
}

impl fmt::Display for Why {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Undecided(Reason::UnknownDirection) => {
                out.write_str("who opened it? It was under way when it was first seen")
            }
            Self::Undecided(Reason::UndefinedProtocol) => out.write_str(
                "does the network let it through? What policies mean for it is not defined",
            ),
            Self::Undecided(Reason::OtherDestination) => {
                out.write_str("is it wanted there? It was for an address that is not the pod's")
            }
            Self::Undecided(Reason::UnknownPort) => out.write_str("which port was asked?"),
            Self::Undecided(reason) => {
                write!(out, "what is it to policies? ({})", reason.label())
            }
            Self::DeniedBy(id) => write!(
                out,
                "is it wanted? {} {id} denies it, whatever network policies say",
                id.kind.label()
            ),
            Self::Unknown => out.write_str("who is that? The inventory does not have it"),
            Self::Ephemeral(port) => write!(
                out,
                "is {port} a service? Connections get such ports by chance, nobody declares it, and \
                 it was asked once"
            ),
            Self::NoPorts => out.write_str(
                "is it wanted? A rule without ports would allow it, and everything else between them",
            ),
            Self::Answer => out.write_str("is it an answer? It comes from a port of a service"),
            Self::NotAllowed => out.write_str("the rules above don't allow it"),
        }
    }
}

/// All of them.
#[derive(Debug)]
pub(super) struct Questions {
    who: Who,
    asked: BTreeMap<String, Asked>,
    /// Questions that there was no room for.
    more: u64,
    /// What they are about, by number.
    about: BTreeSet<usize>,
    flows: u64,
}

#[derive(Debug)]
struct Asked {
    flows: u64,
    /// The sighting that was counted last.
    last: usize,
}

impl Questions {
    pub(super) fn new(inventory: &Inventory) -> Self {
        Self {
            who: Who::new(inventory),
            asked: BTreeMap::new(),
            more: 0,
            about: BTreeSet::new(),
            flows: 0,
        }
    }

    /// Asks, of a sighting by its number.
    pub(super) fn ask(&mut self, number: usize, sighting: &Sighting, why: &Why) {
        let flows = sighting.evidence.flows;
        if self.about.insert(number) {
            self.flows += flows;
        }
        let text = format!("{}: {why}", self.words(&sighting.flow));
        if let Some(asked) = self.asked.get_mut(&text) {
            if asked.last != number {
                asked.flows += flows;
                asked.last = number;
            }
        } else if self.asked.len() < MOST {
            let last = number;
            self.asked.insert(text, Asked { flows, last });
        } else {
            self.more += 1;
        }
    }

    /// Asks of what these deny, or may deny, and nobody has asked of so far.
    pub(super) fn ask_of_the_denied(&mut self, seen: &Seen, ruleset: &Ruleset) {
        for (number, sighting) in seen.sightings() {
            let flow = &sighting.flow;
            if self.about.contains(&number) || flow.is_apart().is_some() {
                continue;
            }
            let Some(connection) = flow.connection(flow.direction) else {
                continue;
            };
            let pairings = ruleset.pairings(&connection);
            let open = pairings
                .iter()
                .flat_map(|pairing| not_allowed(&pairing.verdicts));
            for verdict in open {
                let why = match verdict.outcome {
                    Outcome::Undecided => Why::Undecided(verdict.reason),
                    Outcome::Allowed | Outcome::Denied => Why::NotAllowed,
                };
                self.ask(number, sighting, &why);
            }
        }
    }

    /// Flows that somebody asks about.
    pub(super) const fn flows(&self) -> u64 {
        self.flows
    }

    /// As lines.
    pub(super) fn lines(&self) -> Vec<String> {
        if self.asked.is_empty() {
            return Vec::new();
        }
        let mut lines = vec![format!(
            "QUESTIONS: {} not covered by rules until somebody answers.",
            counted(self.flows, "flow is", "flows are")
        )];
        let told = self.asked.iter().take(TOLD);
        lines.extend(told.map(|(text, asked)| {
            let flows = counted(asked.flows, "flow", "flows");
            format!("- {text} ({flows})")
        }));
        let more = self.asked.len().saturating_sub(TOLD) as u64 + self.more;
        if more > 0 {
            lines.push(format!("- and {}", counted(more, "more", "more")));
        }
        lines
    }

    /// `shop/cart-0 -> shop/redis-0 tcp/6379`
    fn words(&self, flow: &Flow) -> String {
        let party = |end: &Option<End>, port: bool| {
            let Some(end) = end else {
                return "?".to_owned();
            };
            match end.port {
                Some(number) if port => format!("{} port {number}", self.who.is(end)),
                _ => self.who.is(end).to_string(),
            }
        };
        let ports = flow.direction == Direction::Unknown;
        let (local, remote) = (party(&flow.local, ports), party(&flow.remote, ports));
        let protocol = flow.protocol;
        let port = flow.asked_port();
        let port = port.map_or_else(String::new, |port| format!("/{port}"));
        match flow.direction {
            Direction::Egress => format!("{local} -> {remote} {protocol}{port}"),
            Direction::Ingress => format!("{remote} -> {local} {protocol}{port}"),
            Direction::Unknown => format!("{local} - {remote} {protocol}"),
        }
    }
}

/// Those that don't allow it.
pub(super) fn not_allowed(verdicts: &Verdicts) -> impl Iterator<Item = &Verdict> {
    let both = [&verdicts.egress, &verdicts.ingress].into_iter().flatten();
    both.filter(|verdict| verdict.outcome != Outcome::Allowed)
}

/// `1 flow`, `2 flows`
pub(super) fn counted(number: u64, one: &str, more: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { more })
}
