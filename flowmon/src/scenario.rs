//! Scenarios: policies, a cast, and what is expected to pass between whom.
#![forbid(unsafe_code)]

mod cast;
mod judge;
mod read;

use std::{collections::BTreeMap, net::IpAddr};

pub use judge::{Judged, judge};
pub use read::read;

use crate::policy::{AskedPort, Inventory, Outcome, Place, Problem, Severity, connection};
use crate::policy::{Connection, inventory::PodId};

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
    pub expected: Vec<Expected>,
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

impl Expected {
    /// The connection that is meant.
    ///
    /// # Errors
    /// Someone, or a port, that is not in the scenario.
    pub fn connection(
        &self,
        inventory: &Inventory,
        outside: &BTreeMap<String, IpAddr>,
    ) -> Result<Connection, Problem> {
        let who = |word: &Word| {
            let address = outside.get(&word.text).map(IpAddr::to_string);
            address.unwrap_or_else(|| word.text.clone())
        };
        let (from, to) = (who(&self.from), who(&self.to));
        // Both ends alone first, so that the place is that of the end that is wrong.
        for (word, text, may_be_service) in [(&self.from, &from, false), (&self.to, &to, true)] {
            if let Err(message) = known(inventory, text, may_be_service) {
                return Err(problem(word, "invalid-peer", message));
            }
        }
        let port = port(inventory, &to, &self.port)?;
        connection(inventory, &from, &to, port)
            .map_err(|message| problem(&self.to, "invalid-peer", message))
    }
}

/// Is this someone?
fn known(inventory: &Inventory, text: &str, may_be_service: bool) -> Result<(), String> {
    if text.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    let id = text.split_once('/').map(|(namespace, name)| PodId {
        namespace: namespace.into(),
        name: name.into(),
    });
    let Some(id) = id else {
        return Err(format!(
            "`{text}` is no outside peer, no address and no NAMESPACE/NAME"
        ));
    };
    if inventory.pods.contains_key(&id) || (may_be_service && inventory.services.contains_key(&id))
    {
        Ok(())
    } else {
        Err(format!("there is no pod `{text}` in this scenario"))
    }
}

fn port(inventory: &Inventory, to: &str, word: &Word) -> Result<AskedPort, Problem> {
    let wrong = match word.text.parse() {
        Ok(port) => return Ok(port),
        Err(wrong) => wrong,
    };
    let pod = to.split_once('/').and_then(|(namespace, name)| {
        let (namespace, name) = (namespace.into(), name.into());
        inventory.pods.get(&PodId { namespace, name })
    });
    let ports = pod.map(|pod| pod.ports.as_slice()).unwrap_or_default();
    let named = ports.iter().find(|port| *port.name == *word.text);
    let asked = named.map(|port| AskedPort {
        protocol: port.protocol.number(),
        number: Some(port.port),
    });
    asked.ok_or_else(|| {
        let message = format!("`{}`: {wrong}, or a name of a port of {to}", word.text);
        problem(word, "invalid-port", message)
    })
}

fn problem(word: &Word, rule: &'static str, message: String) -> Problem {
    Problem {
        severity: Severity::Error,
        rule,
        place: word.place.clone(),
        message,
    }
}
