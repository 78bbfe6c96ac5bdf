//! Which interfaces there are, which of them are to be watched, and which are.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    net::IpAddr,
    sync::Arc,
};

use crate::{
    clock::Clock,
    kernel::{self, Datapath, Hook, Inherited},
    model::{Endpoint, EndpointKind, Identity, Interface, InterfaceCounters, Peer},
    netlink::LinkEvent,
    selection::{self, Pattern},
    settings::Watch,
    sinks::escaped,
};

use super::{Error, identities::Identities, witness::Witnesses};

/// For so long after attaching to an interface with a past, who speaks first in a connectionless
/// protocol may be answering something said before: longer than most answers take.
const SETTLING_NS: u64 = 3_000_000_000;

pub(super) struct Attachments {
    patterns: Vec<Pattern>,
    hook: Option<Hook>,
    /// The addresses of the endpoints behind interfaces, by the interface's name.
    owned: BTreeMap<String, Vec<IpAddr>>,
    interfaces: BTreeMap<u32, Interface>,
    attached: BTreeMap<u32, Endpoint>,
    /// Interfaces that can't be attached to; not tried again until they change.
    failed: BTreeSet<u32>,
    ever_attached: usize,
    ever_failed: u64,
}

impl Attachments {
    /// Refuses names that no interface has.
    pub(super) fn new(settings: &Watch, interfaces: Vec<Interface>) -> Result<Self, Error> {
        if let Some(name) = selection::missing(&settings.interfaces, &interfaces).first() {
            return Err(Error::NoSuchInterface {
                name: (*name).to_owned(),
            });
        }
        Ok(Self {
            patterns: settings.interfaces.clone(),
            hook: settings.hook,
            owned: settings.owned.clone(),
            interfaces: by_index(interfaces),
            attached: BTreeMap::new(),
            failed: BTreeSet::new(),
            ever_attached: 0,
            ever_failed: 0,
        })
    }

    /// Removes what flowmons left which were killed. Where that fails, watching goes on all the same:
    /// such a filter counts for nobody and changes nothing.
    pub(super) fn clean_up(&self) {
        match kernel::remove_leftovers() {
            Ok(removed) => {
                for ifindex in removed {
                    let name = self
                        .interfaces
                        .get(&ifindex)
                        .map(|found| escaped(&found.name));
                    tracing::info!(
                        "removed a filter that a killed flowmon left on {}",
                        name.unwrap_or_default()
                    );
                }
            }
            Err(error) => tracing::warn!("{error}"),
        }
    }

    /// Takes in what netlink said.
    pub(super) fn learn(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Changed(interface) => {
                if let Some(endpoint) = self.attached.get_mut(&interface.ifindex) {
                    endpoint.interface.clone_from(&interface.name);
                }
                self.interfaces.insert(interface.ifindex, interface);
            }
            LinkEvent::Gone { ifindex, .. } => {
                self.interfaces.remove(&ifindex);
                self.failed.remove(&ifindex);
            }
            // What happened in between is not known: an interface that is not quite the one we
            // attached to counts as another, and will be attached to anew.
            LinkEvent::Resync(interfaces) => {
                let now = by_index(interfaces);
                self.failed.clear();
                self.interfaces.retain(|ifindex, known| {
                    now.get(ifindex).is_some_and(|found| same(known, found))
                });
                let parting = self.parting();
                self.interfaces.extend(
                    now.into_iter()
                        .filter(|(ifindex, _)| !parting.contains(ifindex)),
                );
            }
        }
    }

    /// All that there are.
    pub(super) fn interfaces(&self) -> impl Iterator<Item = &Interface> {
        self.interfaces.values()
    }

    /// Puts names to what is attached to, as far as they are known.
    pub(super) fn identify(&mut self, identities: &Identities) {
        for (&ifindex, endpoint) in &mut self.attached {
            if let Some(identity) = identities.behind(ifindex) {
                endpoint.identity = Arc::clone(identity);
            }
        }
    }

    fn wanted(&self) -> BTreeSet<u32> {
        selection::select(&self.patterns, self.interfaces.values())
    }

    /// Attached to, but no longer to be watched, or gone.
    pub(super) fn parting(&self) -> Vec<u32> {
        let wanted = self.wanted();
        self.attached()
            .filter(|ifindex| !wanted.contains(ifindex))
            .collect()
    }

    /// Goes on with what the daemon before this one watched, and `parted` interfaces that left since it
    /// began. Returns those that are to be settled.
    pub(super) fn take_over(
        &mut self,
        inherited: &[Inherited],
        parted: u32,
        datapath: &mut Datapath,
        witnesses: &mut Option<Witnesses>,
        clock: &mut Clock,
    ) -> Result<Vec<u32>, Error> {
        self.ever_attached += parted as usize;
        let wanted = self.wanted();
        let mut leaving = Vec::new();
        for one in inherited {
            let ifindex = one.ifindex;
            if one.is_attached && wanted.contains(&ifindex) {
                self.attach(ifindex, datapath, witnesses, clock)?;
            }
            if let Entry::Vacant(vacant) = self.attached.entry(ifindex) {
                vacant.insert(nameless(one));
                self.ever_attached += 1;
                leaving.push(ifindex);
            }
        }
        Ok(leaving)
    }

    /// Attaches to what is to be watched.
    pub(super) fn attach_missing(
        &mut self,
        datapath: &mut Datapath,
        witnesses: &mut Option<Witnesses>,
        clock: &mut Clock,
    ) -> Result<(), Error> {
        for ifindex in self.wanted() {
            if !self.attached.contains_key(&ifindex) && !self.failed.contains(&ifindex) {
                self.attach(ifindex, datapath, witnesses, clock)?;
            }
        }
        Ok(())
    }

    /// One interface that can't be attached to must not keep the others from being watched: it is
    /// said, and counted as lost.
    fn attach(
        &mut self,
        ifindex: u32,
        datapath: &mut Datapath,
        witnesses: &mut Option<Witnesses>,
        clock: &mut Clock,
    ) -> Result<(), Error> {
        let Some(interface) = self.interfaces.get(&ifindex) else {
            return Ok(());
        };
        match datapath.attach(interface, self.hook, settled_at(interface, clock)) {
            Ok(hooks) => {
                tracing::debug!(
                    interface = ?interface.name,
                    hook = hooks.flows.label(),
                    "attached"
                );
                let owned = self.owned.get(&interface.name);
                if let Some(addresses) = owned {
                    datapath.own(ifindex, addresses)?;
                }
                if let Some(witnesses) = witnesses {
                    witnesses.attached(ifindex, datapath, hooks, owned.is_some())?;
                }
                self.attached.insert(ifindex, endpoint(interface));
                self.ever_attached += 1;
            }
            // Its going will be told by netlink.
            Err(kernel::Error::Gone { interface }) => {
                tracing::debug!(?interface, "gone before it could be attached to");
            }
            Err(error @ kernel::Error::NotPermitted { .. }) => return Err(error.into()),
            Err(error) => {
                tracing::warn!("{error}: it is not watched");
                self.failed.insert(ifindex);
                self.ever_failed += 1;
            }
        }
        Ok(())
    }

    /// Says on stderr what is watched: also the sign that it is.
    pub(super) fn announce(&self) {
        let names: Vec<_> = self
            .attached
            .values()
            .map(|endpoint| escaped(&endpoint.interface))
            .collect();
        match names.as_slice() {
            [] => tracing::info!("watching; no interface matches yet"),
            [name] => tracing::info!("watching {name}"),
            names => tracing::info!("watching {} interfaces: {}", names.len(), names.join(" ")),
        }
    }

    pub(super) fn forget(&mut self, ifindex: u32) {
        if let Some(endpoint) = self.attached.remove(&ifindex) {
            tracing::debug!(interface = ?endpoint.interface, "detached");
        }
    }

    pub(super) fn attached(&self) -> impl Iterator<Item = u32> {
        self.attached.keys().copied()
    }

    /// The far ends of the attached veths.
    pub(super) fn peers(&self) -> impl Iterator<Item = (u32, Peer)> {
        self.attached.keys().filter_map(|ifindex| {
            let interface = self.interfaces.get(ifindex)?;
            let is_veth = interface.kind.as_deref() == Some("veth");
            Some((*ifindex, interface.peer.filter(|_| is_veth)?))
        })
    }

    pub(super) fn endpoint(&self, ifindex: u32) -> Option<&Endpoint> {
        self.attached.get(&ifindex)
    }

    /// The name of an interface that is attached to.
    pub(super) fn name(&self, ifindex: u32) -> String {
        let endpoint = self.attached.get(&ifindex);
        endpoint.map_or_else(String::new, |endpoint| endpoint.interface.clone())
    }

    /// How many were watched, at one time or another.
    pub(super) const fn ever_attached(&self) -> usize {
        self.ever_attached
    }

    /// How many should have been watched and could not be.
    pub(super) const fn failed(&self) -> u64 {
        self.ever_failed
    }
}

fn by_index(interfaces: Vec<Interface>) -> BTreeMap<u32, Interface> {
    interfaces
        .into_iter()
        .map(|interface| (interface.ifindex, interface))
        .collect()
}

fn same(known: &Interface, found: &Interface) -> bool {
    (&known.name, &known.kind, known.peer) == (&found.name, &found.kind, found.peer)
}

fn endpoint(interface: &Interface) -> Endpoint {
    Endpoint {
        interface: interface.name.clone(),
        ifindex: interface.ifindex,
        identity: Arc::new(Identity::nameless(if interface.leads_to_endpoint() {
            EndpointKind::Unknown
        } else {
            EndpointKind::Host
        })),
    }
}

/// Who is behind an interface that is gone, nobody can tell any more.
fn nameless(inherited: &Inherited) -> Endpoint {
    Endpoint {
        interface: inherited.name.clone(),
        ifindex: inherited.ifindex,
        identity: Arc::new(Identity::nameless(EndpointKind::Unknown)),
    }
}

/// An interface without a past has nothing to settle.
fn settled_at(interface: &Interface, clock: &mut Clock) -> u64 {
    if interface.counters == InterfaceCounters::default() {
        0
    } else {
        clock.now().monotonic_ns + SETTLING_NS
    }
}
