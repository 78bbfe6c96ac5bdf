//! Policies with their rules compiled, in the order of judgement.

use std::sync::Arc;

use super::{
    Settings,
    matching::Match,
    rule::Rule,
    selectors::{Namespace, Selectors},
    who::Direction,
};
use crate::policy::{Policy, PolicySet, model::PolicyId};

/// A policy and its rules.
#[derive(Debug)]
pub(in crate::policy) struct Compiled {
    pub(in crate::policy) policy: Arc<Policy>,
    pub(super) egress: Option<Box<[Rule]>>,
    pub(super) ingress: Option<Box<[Rule]>>,
}

impl Compiled {
    fn new(policy: &Arc<Policy>, selectors: &mut Selectors, settings: Settings) -> Self {
        let mut rules = |rules: &Option<Vec<crate::policy::model::Rule>>| {
            let rule = |rule| Rule::new(rule, selectors, settings.ip_block_matches_pods);
            Some(rules.as_ref()?.iter().map(rule).collect())
        };
        Self {
            egress: rules(&policy.egress),
            ingress: rules(&policy.ingress),
            policy: Arc::clone(policy),
        }
    }

    /// Its rules for a direction.
    pub(in crate::policy) fn rules(&self, direction: Direction) -> &[Rule] {
        let rules = match direction {
            Direction::Egress => &self.egress,
            Direction::Ingress => &self.ingress,
        };
        rules.as_deref().unwrap_or_default()
    }
}

/// All of them.
#[derive(Debug, Clone, Default)]
pub(super) struct Policies {
    /// By tier, priority, and the order in which they were read.
    list: Vec<Arc<Compiled>>,
}

impl Policies {
    pub(super) fn new(set: &PolicySet, selectors: &mut Selectors, settings: Settings) -> Self {
        let compile = |policy| Arc::new(Compiled::new(policy, selectors, settings));
        let mut list: Vec<_> = set.policies.iter().map(compile).collect();
        list.sort_by_key(|compiled| compiled.policy.tier);
        Self { list }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(super) fn has(&self, id: &PolicyId) -> bool {
        self.list.iter().any(|compiled| compiled.policy.id == *id)
    }

    /// Those about pods of this namespace, and whether that is certain.
    pub(super) fn of_namespace(&self, namespace: &Namespace) -> Vec<(Arc<Compiled>, Match)> {
        let about = |compiled: &Arc<Compiled>| {
            let is_among = namespace.is_among(&compiled.policy.subject.namespaces);
            (is_among != Match::No).then(|| (Arc::clone(compiled), is_among))
        };
        self.list.iter().filter_map(about).collect()
    }
}
