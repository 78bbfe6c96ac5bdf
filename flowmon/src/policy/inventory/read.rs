//! The inventory as `kubectl get … -o yaml` and `-o json` print it.
//!
//! Unlike policies, what nobody needs is not looked at: these objects come from the API server. One
//! that lacks what it should have is reported and counts for nothing.

use std::{
    collections::{BTreeMap, HashMap, btree_map::Entry},
    sync::Arc,
};

use super::{Backend, Inventory, Item, PodId, Slice, objects::Broken};
use crate::policy::{
    Place, Problem, Severity,
    document::{Object, each},
};

/// Problems that are told one by one.
const MOST_PROBLEMS: usize = 1000;

/// What was read.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// Who exists.
    pub inventory: Inventory,
    /// What is wrong. An object with an error is not in the inventory.
    pub problems: Vec<Problem>,
    /// Objects of other kinds, passed over: how many of each kind.
    pub others: BTreeMap<String, u64>,
}

/// Reads files, each with its name and its text: YAML or JSON, with as many documents as it likes.
pub fn read<'a>(files: impl IntoIterator<Item = (Arc<str>, &'a str)>) -> Listing {
    let mut reader = Reader::default();
    for (file, text) in files {
        reader.file(&file, text);
    }
    reader.finish()
}

/// Reads file after file, so that not all of them need to be in memory at once.
#[derive(Debug, Default)]
pub struct Reader {
    listing: Listing,
    left_out: u64,
    /// Where each pod stands.
    pods: HashMap<PodId, Place>,
    /// By service; of both, slices are what kube-proxy uses.
    endpoints: BTreeMap<PodId, Vec<Backend>>,
    slices: BTreeMap<PodId, Vec<Backend>>,
}

impl Reader {
    /// Reads one file.
    pub fn file(&mut self, file: &Arc<str>, text: &str) {
        let mut problems = Vec::new();
        each(file, text, &mut problems, &mut |object, _| {
            let place = Place {
                file: Arc::clone(file),
                line: object.node.line,
                column: object.node.column,
                path: String::new(),
            };
            if let Err(broken) = self.object(object, &place) {
                self.report(Severity::Error, "broken-object", place, &broken);
            }
        });
        self.listing.problems.append(&mut problems);
    }

    /// What was read, put together.
    pub fn finish(mut self) -> Listing {
        let inventory = &mut self.listing.inventory;
        for (id, service) in &mut inventory.services {
            service.endpoints = self.slices.remove(id).or_else(|| self.endpoints.remove(id));
        }
        self.shared_addresses();
        if self.left_out > 0
            && let Some(last) = self.listing.problems.last_mut()
        {
            let more = format!(" (and {} more problems)", self.left_out);
            last.message.push_str(&more);
        }
        self.listing
    }

    fn object(&mut self, object: Object<'_, '_>, place: &Place) -> Result<(), Broken> {
        let inventory = &mut self.listing.inventory;
        let is_twin = match Item::of(object)? {
            Item::Namespace(name, labels) => replaced(&mut inventory.namespaces, name, labels),
            Item::Node(name, node) => replaced(&mut inventory.nodes, name, node),
            Item::Pod(id, pod) => {
                self.pods.insert(id.clone(), place.clone());
                replaced(&mut inventory.pods, id, pod)
            }
            Item::Service(id, service) => replaced(&mut inventory.services, id, service),
            Item::Endpoints(id, backends) => replaced(&mut self.endpoints, id, backends),
            Item::Slice(_, Slice { service, backends }) => {
                let all = self.slices.entry(service).or_default();
                for backend in backends {
                    if !all.contains(&backend) {
                        all.push(backend);
                    }
                }
                false
            }
            Item::Other => {
                let kind: String = object.kind.chars().take(80).collect();
                *self.listing.others.entry(kind).or_default() += 1;
                false
            }
            Item::NoServices => false,
        };
        if is_twin {
            let says = "this object was there already, and different: the later one counts";
            self.report(Severity::Warning, "duplicate-object", place.clone(), says);
        }
        Ok(())
    }

    /// Pods that run at one address: something is out of date.
    fn shared_addresses(&mut self) {
        let mut owners = HashMap::new();
        let mut shared = Vec::new();
        for (id, pod) in &self.listing.inventory.pods {
            for address in pod.addresses.iter().filter(|_| !pod.host_network) {
                if let Some(first) = owners.insert(*address, id) {
                    shared.push((id.clone(), first.clone(), *address));
                }
            }
        }
        for (id, first, address) in shared {
            let Some(place) = self.pods.get(&id).cloned() else {
                continue;
            };
            let says = format!(
                "pod {}/{} and pod {}/{} both run at {address}: whose it is can't be said",
                id.namespace, id.name, first.namespace, first.name
            );
            self.report(Severity::Warning, "shared-address", place, &says);
        }
    }

    fn report(&mut self, severity: Severity, rule: &'static str, place: Place, says: &str) {
        if self.listing.problems.len() >= MOST_PROBLEMS {
            self.left_out += 1;
            return;
        }
        self.listing.problems.push(Problem {
            severity,
            rule,
            place,
            message: says.to_owned(),
        });
    }
}

/// Puts it there, in the place of another one?
fn replaced<K: Ord, V: PartialEq>(map: &mut BTreeMap<K, V>, key: K, value: V) -> bool {
    match map.entry(key) {
        Entry::Vacant(entry) => {
            entry.insert(value);
            false
        }
        Entry::Occupied(mut entry) => entry.insert(value) != *entry.get(),
    }
}
