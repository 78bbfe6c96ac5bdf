//! Every flow's verdict while it is watched, and when flows are judged again.

use std::{collections::HashSet, future::Future, net::IpAddr, time::Duration};

use flowmon_common::FlowKey;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

use super::identities::Identities;
use crate::{
    audit::{Amendment, Basis, Live, Observed, Word},
    identity::{Changes, Known, declared},
    model::{Audited, Flow},
};

/// Changes come in crowds, and are waited for so long together.
const GATHERING: Duration = Duration::from_millis(50);

/// To judge all flows again may take one part in so many of the time.
const SHARE: u32 = 10;

/// What flows are judged by, and where it is said what becomes of that: by who reads files, or asks
/// Kubernetes. When the sender is dropped, the basis stays as it is.
#[derive(Debug)]
pub struct Policies {
    /// What there is now; until there is something, flows are undecided.
    pub basis: Option<Basis>,
    /// What becomes of it.
    pub amendments: mpsc::Receiver<Amendment>,
    /// Its inventory is what the user declares. Otherwise it is of a source that says itself who is who.
    pub is_declared: bool,
}

pub(super) struct Judging {
    live: Live,
    amendments: mpsc::Receiver<Amendment>,
    is_declared: bool,
    stale: Stale,
    /// When what is stale may be judged again.
    due: Option<Instant>,
    /// Not before this.
    rested: Instant,
}

/// Flows that may have another verdict by now.
#[derive(Debug, Default)]
pub(super) struct Stale {
    all: bool,
    interfaces: HashSet<u32>,
    addresses: HashSet<IpAddr>,
}

impl Judging {
    pub(super) fn new(policies: Policies) -> Self {
        Self {
            live: Live::new(policies.basis),
            amendments: policies.amendments,
            is_declared: policies.is_declared,
            stale: Stale::default(),
            due: None,
            rested: Instant::now(),
        }
    }

    /// The next amendment. Dropping the future loses nothing.
    pub(super) async fn amended(&mut self) -> Amendment {
        match self.amendments.recv().await {
            Some(amendment) => amendment,
            None => std::future::pending().await,
        }
    }

    /// An amendment that was made and not taken in.
    pub(super) fn pending(&mut self) -> Option<Amendment> {
        self.amendments.try_recv().ok()
    }

    /// Takes it in. Returns whom the inventory knows, if that may be others than before.
    pub(super) fn amend(&mut self, amendment: Amendment) -> Option<Vec<Known>> {
        let is_same = match &amendment {
            Amendment::Whole(basis) if self.is_declared => {
                basis.inventory == *self.live.inventory()
            }
            _ => true,
        };
        if self.live.amend(amendment) {
            self.stale.all = true;
            self.wait();
        }
        (!is_same).then(|| declared(self.live.inventory()))
    }

    /// Takes in who is who by now, and what of it changed.
    pub(super) fn learn(&mut self, identities: &Identities, changes: &Changes) {
        let behind = identities.all_behind();
        self.live
            .learn(behind, identities.host(), !changes.is_empty());
        if changes.is_empty() {
            return;
        }
        // Who answers for a service is not seen by its address.
        self.stale.all |= !self.live.inventory().services.is_empty();
        self.stale.interfaces.extend(&changes.interfaces);
        self.stale.addresses.extend(&changes.addresses);
        self.wait();
    }

    fn wait(&mut self) {
        let soon = Instant::now() + GATHERING;
        self.due.get_or_insert(soon.max(self.rested));
    }

    /// Waits until there is something to be judged again. Dropping the future loses nothing.
    pub(super) fn due(&self) -> impl Future<Output = ()> + use<> {
        let due = self.due;
        async move {
            match due {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
        }
    }

    /// What is to be judged again.
    pub(super) fn stale(&mut self) -> Stale {
        self.due = None;
        std::mem::take(&mut self.stale)
    }

    /// That took since `began`, so there is to be a rest.
    pub(super) fn rest(&mut self, began: Instant) {
        self.rested = Instant::now() + began.elapsed() * SHARE;
    }

    pub(super) fn note(&mut self, observed: &Observed<'_>, ended: bool) -> Word<'_> {
        self.live.note(observed, ended)
    }

    pub(super) fn audited(&self) -> Audited {
        self.live.audited()
    }
}

impl Stale {
    /// May this one have another verdict?
    pub(super) fn is_about(&self, key: &FlowKey) -> bool {
        self.all
            || self.interfaces.contains(&key.ifindex)
            || Flow::address_of(key.l3, key.remote).is_some_and(|it| self.addresses.contains(&it))
    }
}
