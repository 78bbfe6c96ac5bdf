//! Scenarios: policies, a cast, and what is expected to pass between whom.
#![forbid(unsafe_code)]

mod cast;
mod cells;
mod expectation;
mod isolate;
mod judge;
mod mutants;
mod mutation;
mod narrow;
mod peers;
mod read;
mod services;
mod table;
mod tighten;

use std::{collections::BTreeMap, net::IpAddr};

use expectation::Stated;
pub use judge::{Judged, judge};
pub use mutants::Mutant;
pub use mutation::{Difference, Fate, Trial, mutate};
pub use read::read;
pub use tighten::{Fix, tighten};

use crate::policy::{Connection, Inventory, Outcome, Place, Problem};

/// The JSON schema of scenarios, for editors.
pub const SCHEMA: &str = include_str!("../../schemas/scenario.schema.json");

/// What a `*.scenario.yaml` says. Paths are as written: relative to the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    /// Files and folders of the policies under test.
    pub policies: Vec<Word>,
    /// Where the cast is instead of here.
    pub inventory: Option<Word>,
    /// The cast.
    pub cast: Inventory,
    /// Peers outside of the cluster.
    pub outside: BTreeMap<String, IpAddr>,
    /// What is expected, in the order of the file.
    stated: Vec<Stated>,
}

/// A word and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// The word.
    pub text: String,
    /// Where.
    pub place: Place,
}

/// One cell: who, to whom, where, and what is to become of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// A pod, an outside peer or an address.
    pub from: Word,
    /// Alike, or a service.
    pub to: Word,
    /// `443`, `53/udp`, `icmp`, or the name of a port of the pod.
    pub port: Word,
    /// The verdict.
    pub outcome: Outcome,
    /// The policy that must decide, as `namespace/name`, or the label of the reason.
    pub because: Option<String>,
}

/// A cell as it can be judged or played.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// What is expected.
    pub expected: Expected,
    /// The connection that is meant.
    pub connection: Connection,
    /// `IPv4` or `IPv6`, where both ends have both: then there is a cell for each.
    pub family: Option<&'static str>,
}

impl Scenario {
    /// All that is expected, with the inventory that is the cast, in the order of the file.
    ///
    /// # Errors
    /// Those, and ports, that are not in the scenario; what contradicts itself.
    pub fn cells(&self, inventory: &Inventory) -> Result<Vec<Cell>, Vec<Problem>> {
        cells::all(self, inventory)
    }
}
