//! What flows are judged by, and how it comes to who judges.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::policy::{
    Inventory, PolicySet, Ruleset, Settings,
    inventory::{Pod, PodId},
};

/// Policies and inventory, compiled.
#[derive(Debug, Clone)]
pub struct Basis {
    /// Who exists, as declared or as the cluster says.
    pub inventory: Inventory,
    /// Both, ready to judge.
    pub ruleset: Ruleset,
    /// Policies in force, by kind.
    pub policies: BTreeMap<&'static str, usize>,
    /// Namespaces of policies that are in force and can't be used, so that it is not known what they
    /// let pass; the empty one stands for all.
    pub unknown: BTreeSet<Arc<str>>,
}

impl Basis {
    /// Compiles: some milliseconds for thousands of policies, so not where packets are waited for.
    pub fn new(policies: &PolicySet, inventory: Inventory, settings: Settings) -> Self {
        let mut by_kind = BTreeMap::new();
        for policy in &policies.policies {
            *by_kind.entry(policy.id.kind.label()).or_default() += 1;
        }
        Self {
            ruleset: Ruleset::compile(policies, &inventory, settings),
            inventory,
            policies: by_kind,
            unknown: BTreeSet::new(),
        }
    }
}

/// What becomes of the basis while it is judged by. Who keeps policies and inventory, in files or in
/// Kubernetes, says so through a channel, and never waits for those who judge.
#[derive(Debug)]
pub enum Amendment {
    /// From now on it is this one, as a whole.
    Whole(Box<Basis>),
    /// A pod of the inventory has come or changed, or is gone when there is `None`: a matter of a
    /// microsecond.
    Pod(PodId, Option<Pod>),
    /// Something else was to be the basis and can't be; it stays as it is. Why is said where it was
    /// found.
    Refused,
}
