//! What pods with the same labels in the same namespace have in common: to policies they are one.

use std::{collections::HashMap, sync::Arc};

use super::{
    compiled::{Compiled, Policies},
    matching::Match,
    selectors::{Namespace, PodSelector, Selectors},
    who::Direction,
};
use crate::policy::{Labels, Reason, model::Tier};

/// What pods with the same labels in the same namespace have in common.
#[derive(Debug)]
pub(in crate::policy) struct Class {
    pub(in crate::policy) labels: Labels,
    /// A bit for each selector that selects them.
    selected: Box<[u64]>,
    /// A bit for each that may; empty unless little is known of the namespace.
    maybe_selected: Box<[u64]>,
    egress: Bound,
    ingress: Bound,
}

/// The policies that have something to say of a class, for one direction, in the order of judgement.
#[derive(Debug, Default)]
pub(in crate::policy) struct Bound {
    pub(in crate::policy) admin: Vec<Binding>,
    /// Those that isolate it.
    pub(in crate::policy) network: Vec<Arc<Compiled>>,
    pub(in crate::policy) baseline: Vec<Binding>,
}

/// One of the admin kinds.
#[derive(Debug, Clone)]
pub(in crate::policy) struct Binding {
    pub(in crate::policy) policy: Arc<Compiled>,
    /// That it is about these pods.
    pub(in crate::policy) selected: Match,
}

impl Binding {
    /// Bindings of the same tier and priority have no order among them.
    pub(in crate::policy) fn tier(&self) -> Tier {
        self.policy.policy.tier
    }
}

impl Class {
    /// `among` and `policies` are those that are about the namespace.
    pub(super) fn new(
        labels: Labels,
        selectors: &Selectors,
        among: &[(PodSelector, Match)],
        policies: &[(Arc<Compiled>, Match)],
    ) -> Self {
        let words = selectors.count().div_ceil(64);
        let is_maybe = |(_, is_among): &(PodSelector, Match)| matches!(is_among, Match::Maybe(_));
        let maybe_words = if among.iter().any(is_maybe) { words } else { 0 };
        let mut class = Self {
            labels,
            selected: vec![0; words].into(),
            maybe_selected: vec![0; maybe_words].into(),
            egress: Bound::default(),
            ingress: Bound::default(),
        };
        for (selector, is_among) in among {
            let bits = match is_among {
                Match::Yes => &mut class.selected,
                _ => &mut class.maybe_selected,
            };
            if selectors.select(*selector, &class.labels)
                && let Some(word) = bits.get_mut(selector.0 / 64)
            {
                *word |= 1 << (selector.0 % 64);
            }
        }
        for (policy, is_among) in policies {
            if policy.policy.subject.pods.matches(&class.labels) {
                class.bind(policy, *is_among);
            }
        }
        class
    }

    fn bind(&mut self, policy: &Arc<Compiled>, selected: Match) {
        for (rules, bound) in [
            (&policy.egress, &mut self.egress),
            (&policy.ingress, &mut self.ingress),
        ] {
            if rules.is_none() {
                continue;
            }
            let policy = Arc::clone(policy);
            match policy.policy.tier {
                Tier::NetworkPolicy => bound.network.push(policy),
                Tier::Admin { .. } => bound.admin.push(Binding { policy, selected }),
                Tier::Baseline { .. } => bound.baseline.push(Binding { policy, selected }),
            }
        }
    }

    /// The policies for a direction.
    pub(in crate::policy) const fn bound(&self, direction: Direction) -> &Bound {
        match direction {
            Direction::Egress => &self.egress,
            Direction::Ingress => &self.ingress,
        }
    }

    /// Does it select these pods?
    pub(super) fn selected_by(&self, selector: PodSelector) -> Match {
        let has = |bits: &[u64]| {
            let word = bits.get(selector.0 / 64);
            word.is_some_and(|word| word >> (selector.0 % 64) & 1 == 1)
        };
        if has(&self.selected) {
            Match::Yes
        } else if has(&self.maybe_selected) {
            Match::Maybe(Reason::UnknownNamespace)
        } else {
            Match::No
        }
    }
}

/// The classes of a namespace.
#[derive(Debug, Clone)]
pub(super) struct Classes {
    among: Vec<(PodSelector, Match)>,
    policies: Vec<(Arc<Compiled>, Match)>,
    by_labels: HashMap<Labels, Arc<Class>>,
}

impl Classes {
    pub(super) fn new(namespace: &Namespace, selectors: &Selectors, policies: &Policies) -> Self {
        Self {
            among: selectors.of_namespace(namespace),
            policies: policies.of_namespace(namespace),
            by_labels: HashMap::new(),
        }
    }

    /// The class of pods with these labels.
    pub(super) fn class(&mut self, labels: &Labels, selectors: &Selectors) -> Arc<Class> {
        if let Some(class) = self.by_labels.get(labels) {
            return Arc::clone(class);
        }
        let class = Class::new(labels.clone(), selectors, &self.among, &self.policies);
        let class = Arc::new(class);
        self.by_labels.insert(labels.clone(), Arc::clone(&class));
        class
    }

    /// A pod of this class is gone.
    pub(super) fn release(&mut self, class: &Arc<Class>) {
        // Ours, and that of the pod.
        if Arc::strong_count(class) == 2 {
            self.by_labels.remove(&class.labels);
        }
    }
}
