//! What the API of Kubernetes says of a cluster, object by object: who exists, and which policies.
//!
//! Kept lean: of each object only what judging and naming need. An object that can't be used is
//! known to be there, and what it would have said is known not to be known.

mod shared;
mod size;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
};

use super::{
    Inventory, Policy, PolicySet, Severity, document,
    inventory::{Item, Node, PodId, Service, Slice},
    model::Kind,
};
use shared::Shared;
use size::Size;

/// Bytes of all that is kept, some 200,000 pods: who says more is not believed.
const MOST: usize = 512 << 20;

/// A policy in memory is so many times as long as its JSON, at most.
const IN_MEMORY: usize = 4;

/// What there are objects of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// Namespaces, for their labels.
    Namespaces,
    /// Nodes.
    Nodes,
    /// Pods.
    Pods,
    /// Services.
    Services,
    /// Who answers for services.
    EndpointSlices,
    /// Policies of some kind.
    Policies(Kind),
}

/// Namespace (empty where the kind has none) and name of an object.
pub type ObjectId = PodId;

/// Why an object is of no use: in a sentence, with untrusted text in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable(pub String);

/// All objects that there are.
#[derive(Debug, Default)]
pub struct Cluster {
    inventory: Inventory,
    slices: BTreeMap<ObjectId, Slice>,
    policies: BTreeMap<(Kind, ObjectId), Stored>,
    /// Objects that were there before a list was begun, and were not in it so far.
    unseen: HashMap<Resource, BTreeSet<ObjectId>>,
    size: usize,
    shared: Shared,
    changes: Changes,
}

/// A policy that is there.
#[derive(Debug, Default)]
struct Stored {
    /// None where it can't be used.
    policy: Option<Arc<Policy>>,
    size: usize,
}

/// What has become different.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Who has, or had, addresses; and which they were before.
    pub holders: BTreeMap<Holder, Vec<IpAddr>>,
    /// What a ruleset is made of, pods aside.
    pub rules: bool,
}

/// Somebody with addresses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holder {
    /// A pod.
    Pod(PodId),
    /// A service.
    Service(PodId),
    /// A node.
    Node(Arc<str>),
}

impl Changes {
    /// Nothing at all?
    pub fn is_empty(&self) -> bool {
        !self.rules && self.holders.is_empty()
    }

    fn note(&mut self, holder: Holder, before: &[IpAddr]) {
        let first = self.holders.entry(holder);
        first.or_insert_with(|| before.to_vec());
    }
}

impl Cluster {
    /// A list of all objects begins: whatever is not in it is gone when it ends.
    pub fn begin(&mut self, resource: Resource) {
        let there: BTreeSet<ObjectId> = match resource {
            Resource::Namespaces => global(self.inventory.namespaces.keys()).collect(),
            Resource::Nodes => global(self.inventory.nodes.keys()).collect(),
            Resource::Pods => self.inventory.pods.keys().cloned().collect(),
            Resource::Services => self.inventory.services.keys().cloned().collect(),
            Resource::EndpointSlices => self.slices.keys().cloned().collect(),
            Resource::Policies(kind) => {
                let of_it = self.policies.keys().filter(|(of, _)| *of == kind);
                of_it.map(|(_, id)| id.clone()).collect()
            }
        };
        self.unseen.insert(resource, there);
    }

    /// The list has ended.
    pub fn end(&mut self, resource: Resource) {
        for id in self.unseen.remove(&resource).unwrap_or_default() {
            self.remove(resource, &id);
        }
    }

    /// There is this object, `id`, in this version of the API (`discovery.k8s.io/v1`), as JSON.
    ///
    /// # Errors
    /// It can't be used: there is something that is not known.
    pub fn put(
        &mut self,
        resource: Resource,
        version: &str,
        id: &ObjectId,
        json: &str,
    ) -> Result<(), Unusable> {
        if let Some(unseen) = self.unseen.get_mut(&resource) {
            unseen.remove(id);
        }
        let put = match resource {
            Resource::Policies(kind) => self.put_policy(kind, version, id, json),
            _ => self.put_item(resource, version, id, json),
        };
        if put.is_err() {
            self.remove(resource, id);
            if let Resource::Policies(kind) = resource {
                self.policies.insert((kind, id.clone()), Stored::default());
                self.changes.rules = true;
            }
        }
        put
    }

    fn put_policy(
        &mut self,
        kind: Kind,
        version: &str,
        id: &ObjectId,
        json: &str,
    ) -> Result<(), Unusable> {
        let policy = Arc::new(policy(kind, version, id, json)?);
        let key = (kind, id.clone());
        let before = self.policies.get(&key);
        if before.is_some_and(|before| before.policy.as_ref() == Some(&policy)) {
            return Ok(());
        }
        let size = json.len() * IN_MEMORY;
        self.take(size, before.map_or(0, |before| before.size))?;
        let policy = Some(policy);
        self.policies.insert(key, Stored { policy, size });
        self.changes.rules = true;
        Ok(())
    }

    fn put_item(
        &mut self,
        resource: Resource,
        version: &str,
        id: &ObjectId,
        json: &str,
    ) -> Result<(), Unusable> {
        let mut item = item(resource, version, json)?;
        size::check(&item, id).map_err(Unusable)?;
        self.shared.share(&mut item);
        match item {
            Item::Namespace(name, labels) => {
                let before = self.inventory.namespaces.get(&name);
                if before != Some(&labels) {
                    self.take(labels.size(), before.map_or(0, Size::size))?;
                    self.inventory.namespaces.insert(name, labels);
                    self.changes.rules = true;
                }
            }
            Item::Node(name, node) => {
                let before = self.inventory.nodes.get(&name);
                if before != Some(&node) {
                    let addresses = before.map_or(&[][..], |before| &before.addresses).to_vec();
                    self.take(node.size(), before.map_or(0, Size::size))?;
                    let holder = Holder::Node(Arc::clone(&name));
                    self.changes.note(holder, &addresses);
                    self.inventory.nodes.insert(name, node);
                    self.changes.rules = true;
                }
            }
            Item::Pod(id, pod) => {
                let before = self.inventory.pods.get(&id);
                if before != Some(&pod) {
                    let addresses = before.map_or(&[][..], |before| before.own()).to_vec();
                    self.take(pod.size(), before.map_or(0, Size::size))?;
                    self.changes.note(Holder::Pod(id.clone()), &addresses);
                    self.inventory.pods.insert(id, pod);
                }
            }
            Item::Service(id, service) => {
                let before = self.inventory.services.get(&id);
                if before != Some(&service) {
                    let addresses = before.map_or(&[][..], |before| &before.addresses).to_vec();
                    self.take(service.size(), before.map_or(0, Size::size))?;
                    self.changes.note(Holder::Service(id.clone()), &addresses);
                    self.inventory.services.insert(id, service);
                    self.changes.rules = true;
                }
            }
            Item::Slice(id, slice) => {
                let before = self.slices.get(&id);
                if before != Some(&slice) {
                    self.take(slice.size(), before.map_or(0, Size::size))?;
                    self.slices.insert(id, slice);
                    self.changes.rules = true;
                }
            }
            Item::NoServices => self.remove(resource, id),
            Item::Endpoints(..) | Item::Other => {
                return Err(Unusable("it is of another kind".to_owned()));
            }
        }
        Ok(())
    }

    /// Makes room.
    fn take(&mut self, size: usize, before: usize) -> Result<(), Unusable> {
        let after = self.size.saturating_sub(before) + size;
        if after > MOST {
            let says = format!("there is no room for more than {} MB", MOST >> 20);
            return Err(Unusable(says));
        }
        self.size = after;
        Ok(())
    }

    /// There is no such object any more.
    pub fn remove(&mut self, resource: Resource, id: &ObjectId) {
        let inventory = &mut self.inventory;
        let (size, rules) = match resource {
            Resource::Namespaces => (
                size_of(inventory.namespaces.remove(&id.name).as_ref()),
                true,
            ),
            Resource::Nodes => {
                let gone = inventory.nodes.remove(&id.name);
                if let Some(Node { addresses, .. }) = &gone {
                    let holder = Holder::Node(Arc::clone(&id.name));
                    self.changes.note(holder, addresses);
                }
                (size_of(gone.as_ref()), true)
            }
            Resource::Pods => {
                let gone = inventory.pods.remove(id);
                if let Some(pod) = &gone {
                    self.changes.note(Holder::Pod(id.clone()), pod.own());
                }
                (size_of(gone.as_ref()), false)
            }
            Resource::Services => {
                let gone = inventory.services.remove(id);
                if let Some(Service { addresses, .. }) = &gone {
                    self.changes.note(Holder::Service(id.clone()), addresses);
                }
                (size_of(gone.as_ref()), true)
            }
            Resource::EndpointSlices => (size_of(self.slices.remove(id).as_ref()), true),
            Resource::Policies(kind) => {
                let gone = self.policies.remove(&(kind, id.clone()));
                (gone.map(|gone| gone.size), true)
            }
        };
        if let Some(size) = size {
            self.size = self.size.saturating_sub(size);
            self.changes.rules |= rules;
        }
    }

    /// What has become different since this was asked for the last time.
    pub fn changes(&mut self) -> Changes {
        std::mem::take(&mut self.changes)
    }

    /// Who exists. Of services it is not known here who answers.
    pub const fn members(&self) -> &Inventory {
        &self.inventory
    }

    /// Who exists, and who answers for services.
    pub fn inventory(&self) -> Inventory {
        let mut inventory = self.inventory.clone();
        for Slice { service, backends } in self.slices.values() {
            let Some(service) = inventory.services.get_mut(service) else {
                continue;
            };
            let all = service.endpoints.get_or_insert_default();
            for backend in backends {
                // The last endpoints of a slice may be the first ones of another.
                if !all.contains(backend) {
                    all.push(backend.clone());
                }
            }
        }
        inventory
    }

    /// The policies that can be used.
    pub fn policies(&self) -> PolicySet {
        let usable = self.policies.values().filter_map(|it| it.policy.clone());
        PolicySet {
            policies: usable.collect(),
        }
    }

    /// The namespaces for which there are policies that can't be used; the empty one stands for all.
    pub fn unknown_policies(&self) -> BTreeSet<Arc<str>> {
        let unusable = self.policies.iter().filter(|(_, it)| it.policy.is_none());
        unusable
            .map(|((_, id), _)| Arc::clone(&id.namespace))
            .collect()
    }
}

fn global<'a>(names: impl Iterator<Item = &'a Arc<str>>) -> impl Iterator<Item = ObjectId> {
    names.map(|name| ObjectId {
        namespace: "".into(),
        name: Arc::clone(name),
    })
}

fn size_of<T: Size>(gone: Option<&T>) -> Option<usize> {
    gone.map(Size::size)
}

impl Resource {
    /// As in the object's `kind`.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Namespaces => "Namespace",
            Self::Nodes => "Node",
            Self::Pods => "Pod",
            Self::Services => "Service",
            Self::EndpointSlices => "EndpointSlice",
            Self::Policies(kind) => kind.label(),
        }
    }
}

fn item(resource: Resource, version: &str, json: &str) -> Result<Item, Unusable> {
    let mut found = None;
    let mut problems = Vec::new();
    let like = (version, resource.kind());
    let file = Arc::from(resource.kind());
    document::item(&file, json, like, &mut problems, &mut |object, _| {
        found = Some(if object.kind == resource.kind() {
            Item::of(object)
        } else {
            Ok(Item::Other)
        });
    });
    match (found, problems.into_iter().next()) {
        (Some(found), _) => found.map_err(Unusable),
        (None, Some(problem)) => Err(Unusable(problem.message)),
        (None, None) => Ok(Item::Other),
    }
}

fn policy(kind: Kind, version: &str, id: &ObjectId, json: &str) -> Result<Policy, Unusable> {
    let called = if id.namespace.is_empty() {
        format!("{} {}", kind.label(), id.name)
    } else {
        format!("{} {}/{}", kind.label(), id.namespace, id.name)
    };
    let file = Arc::from(called);
    let mut reader = document::Reader::default();
    let mut problems = Vec::new();
    let like = (version, kind.label());
    document::item(&file, json, like, &mut problems, &mut |object, problems| {
        reader.object(&file, object, problems);
    });
    let error = problems
        .into_iter()
        .find(|problem| problem.severity == Severity::Error);
    if let Some(problem) = error {
        let at = &problem.place.path;
        let at = if at.is_empty() {
            ""
        } else {
            &format!("{at}: ")
        };
        return Err(Unusable(format!("{at}{}", problem.message)));
    }
    let found = reader.finish().set.policies.pop();
    let policy = found.and_then(Arc::into_inner);
    policy
        .filter(|policy| {
            let namespace = policy.id.namespace.as_deref().unwrap_or_default();
            policy.id.kind == kind && namespace == &*id.namespace && policy.id.name == id.name
        })
        .ok_or_else(|| Unusable("it is of another kind or name".to_owned()))
}
