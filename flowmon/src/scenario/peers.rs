//! Who can be named, and what connects them.

use std::{collections::BTreeMap, net::IpAddr};

use super::{Expected, Word};
use crate::policy::{
    AskedPort, Connection, Inventory, Problem, Severity, connections, inventory::PodId,
};

/// Pods that are told to who asks for another.
const TOLD: usize = 8;

/// Everyone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peers<'a> {
    pub(super) inventory: &'a Inventory,
    pub(super) outside: &'a BTreeMap<String, IpAddr>,
}

impl Peers<'_> {
    /// Pods that policies can be about, and those outside, by name.
    pub(super) fn everyone(&self) -> Vec<String> {
        let pods = self.pods().map(name);
        pods.chain(self.outside.keys().cloned()).collect()
    }

    /// The pods of a namespace, by name.
    pub(super) fn pods_in(&self, namespace: &str) -> Vec<String> {
        let pods = self.pods().filter(|id| *id.namespace == *namespace);
        pods.map(name).collect()
    }

    fn pods(&self) -> impl Iterator<Item = &PodId> {
        let pods = self.inventory.pods.iter();
        let pods = pods.filter(|(_, pod)| !pod.host_network && !pod.addresses.is_empty());
        pods.map(|(id, _)| id)
    }

    /// Is this someone?
    pub(super) fn known(&self, text: &str, may_be_service: bool) -> Result<(), String> {
        if self.outside.contains_key(text) || text.parse::<IpAddr>().is_ok() {
            return Ok(());
        }
        let Some(id) = id(text) else {
            return Err(format!(
                "`{text}` is no outside peer, no address and no NAMESPACE/NAME"
            ));
        };
        let is_service = self.inventory.services.contains_key(&id);
        if self.inventory.pods.contains_key(&id) || (may_be_service && is_service) {
            Ok(())
        } else if is_service {
            Err(format!("`{text}` is a service: it opens no connections"))
        } else {
            let there = self.pods_in(&id.namespace);
            let there: Vec<&str> = there.iter().map(|it| &**it).take(TOLD).collect();
            let there = if there.is_empty() {
                format!("nor any in `{}`", id.namespace)
            } else {
                format!("but {}", there.join(", "))
            };
            Err(format!(
                "there is no pod `{text}` in this scenario, {there}"
            ))
        }
    }

    /// The connections that are meant, one of each family, of ends that are known; and the port.
    pub(super) fn connections(
        &self,
        expected: &Expected,
    ) -> Result<(AskedPort, Vec<Connection>), Problem> {
        let who = |word: &Word| {
            let address = self.outside.get(&word.text).map(IpAddr::to_string);
            address.unwrap_or_else(|| word.text.clone())
        };
        let (from, to) = (who(&expected.from), who(&expected.to));
        let port = self.port(&to, &expected.port)?;
        self.listens(&to, port)
            .map_err(|message| problem(&expected.port, "invalid-port", message))?;
        connections(self.inventory, &from, &to, port)
            .map(|connections| (port, connections))
            .map_err(|message| problem(&expected.to, "invalid-peer", message))
    }

    /// Does a service do so? What becomes of what it does not listen for, nobody can say.
    fn listens(&self, to: &str, asked: AskedPort) -> Result<(), String> {
        let id = id(to).filter(|id| !self.inventory.pods.contains_key(id));
        let service = id.and_then(|id| self.inventory.services.get(&id));
        let Some(service) = service else {
            return Ok(());
        };
        let ports = service.ports.iter().map(|port| AskedPort {
            protocol: port.protocol.number(),
            number: Some(port.port),
        });
        let ports: Vec<AskedPort> = ports.collect();
        if ports.contains(&asked) {
            return Ok(());
        }
        let ports: Vec<String> = ports.iter().map(AskedPort::to_string).collect();
        let ports = ports.join(", ");
        Err(format!(
            "the service {to} does not listen at {asked}, but at {ports}"
        ))
    }

    fn port(&self, to: &str, word: &Word) -> Result<AskedPort, Problem> {
        let wrong = match word.text.parse() {
            Ok(port) => return Ok(port),
            Err(wrong) => wrong,
        };
        let id = id(to);
        let pod = id.as_ref().and_then(|id| self.inventory.pods.get(id));
        let of_pod = pod.iter().flat_map(|pod| &pod.ports);
        let of_pod = of_pod.map(|port| (&port.name, port.protocol, port.port));
        let service = id.as_ref().and_then(|id| self.inventory.services.get(id));
        let service = service.filter(|_| pod.is_none());
        let of_service = service.iter().flat_map(|service| &service.ports);
        let of_service = of_service.map(|port| (&port.name, port.protocol, port.port));
        let mut ports = of_pod.chain(of_service);
        let named = ports.find(|(name, ..)| ***name == *word.text);
        let asked = named.map(|(_, protocol, port)| AskedPort {
            protocol: protocol.number(),
            number: Some(port),
        });
        asked.ok_or_else(|| {
            let message = format!("`{}`: {wrong}, or a name of a port of {to}", word.text);
            problem(word, "invalid-port", message)
        })
    }
}

fn name(id: &PodId) -> String {
    format!("{}/{}", id.namespace, id.name)
}

pub(super) fn id(text: &str) -> Option<PodId> {
    let (namespace, name) = text.split_once('/')?;
    Some(PodId {
        namespace: namespace.into(),
        name: name.into(),
    })
}

pub(super) fn problem(word: &Word, rule: &'static str, message: String) -> Problem {
    Problem {
        severity: Severity::Error,
        rule,
        place: word.place.clone(),
        message,
    }
}
