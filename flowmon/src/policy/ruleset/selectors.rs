//! Every selector of every rule, each once: what selects a pod is found out when the pod appears.

use std::{collections::HashMap, sync::Arc};

use super::matching::Match;
use crate::policy::{
    Labels, Reason, Selector,
    labels::{NAME_LABEL, Requirement},
    model::Namespaces,
};

/// Number of a selector of pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PodSelector(pub(super) usize);

/// Number of a selector of nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NodeSelector(pub(super) usize);

/// All of them.
#[derive(Debug, Clone, Default)]
pub(super) struct Selectors {
    /// The namespaces' parts, each once.
    namespaces: Interner<Namespaces>,
    /// By number: which of `namespaces`, and the pods' part.
    pods: Interner<(usize, Selector)>,
    nodes: Interner<Selector>,
}

/// Things with numbers.
#[derive(Debug, Clone)]
struct Interner<T> {
    list: Vec<T>,
    numbers: HashMap<T, usize>,
}

impl<T> Default for Interner<T> {
    fn default() -> Self {
        Self {
            list: Vec::new(),
            numbers: HashMap::new(),
        }
    }
}

impl<T: Clone + Eq + std::hash::Hash> Interner<T> {
    fn number(&mut self, thing: T) -> usize {
        let next = self.list.len();
        let number = *self.numbers.entry(thing.clone()).or_insert(next);
        if number == next {
            self.list.push(thing);
        }
        number
    }
}

impl Selectors {
    /// The number of a selector of pods.
    pub(super) fn pods(&mut self, namespaces: &Namespaces, pods: &Selector) -> PodSelector {
        let namespaces = self.namespaces.number(namespaces.clone());
        PodSelector(self.pods.number((namespaces, pods.clone())))
    }

    /// The number of a selector of nodes.
    pub(super) fn nodes(&mut self, selector: &Selector) -> NodeSelector {
        NodeSelector(self.nodes.number(selector.clone()))
    }

    /// How many selectors of pods there are.
    pub(super) const fn count(&self) -> usize {
        self.pods.list.len()
    }

    /// The selectors that select pods of this namespace, if their labels are right, and whether
    /// that is certain of the namespace.
    pub(super) fn of_namespace(&self, namespace: &Namespace) -> Vec<(PodSelector, Match)> {
        let parts = self.namespaces.list.iter();
        let parts: Vec<_> = parts.map(|part| namespace.is_among(part)).collect();
        let of_part = |(number, (part, _)): (usize, &(usize, Selector))| {
            let is_among = parts.get(*part).copied().unwrap_or(Match::No);
            (is_among != Match::No).then_some((PodSelector(number), is_among))
        };
        self.pods
            .list
            .iter()
            .enumerate()
            .filter_map(of_part)
            .collect()
    }

    /// Does this one select pods with these labels?
    pub(super) fn select(&self, selector: PodSelector, labels: &Labels) -> bool {
        let selector = self.pods.list.get(selector.0);
        selector.is_some_and(|(_, selector)| selector.matches(labels))
    }

    /// By number, what selects a node. Of one without labels nothing but its name is known.
    pub(super) fn of_node(&self, labels: Option<&Labels>) -> Box<[Match]> {
        let selected = |selector: &Selector| match labels {
            Some(labels) => selector.matches(labels).into(),
            None if selector.is_everything() => Match::Yes,
            None => Match::Maybe(Reason::UnknownNode),
        };
        self.nodes.list.iter().map(selected).collect()
    }
}

/// A namespace, as selectors see it.
#[derive(Debug, Clone)]
pub(super) struct Namespace {
    pub(super) name: Arc<str>,
    labels: Labels,
    /// Only the name is known.
    only_name: bool,
}

impl Namespace {
    /// `labels` as in the inventory, where it is in there.
    pub(super) fn new(name: &Arc<str>, labels: Option<&Labels>) -> Self {
        let mut namespace = Self {
            name: Arc::clone(name),
            labels: labels.cloned().unwrap_or_default(),
            only_name: labels.is_none(),
        };
        // The API server sees to that label.
        namespace.labels.insert(NAME_LABEL.into(), Arc::clone(name));
        namespace
    }

    /// Is it among these?
    pub(super) fn is_among(&self, namespaces: &Namespaces) -> Match {
        match namespaces {
            Namespaces::Named(name) => (*name == self.name).into(),
            Namespaces::Selected(selector) => {
                let known =
                    |requirement: &&Requirement| !self.only_name || &*requirement.key == NAME_LABEL;
                let (known, unknown): (Vec<_>, Vec<_>) =
                    selector.requirements.iter().partition(known);
                if known
                    .iter()
                    .any(|requirement| !requirement.holds(&self.labels))
                {
                    Match::No
                } else if unknown.is_empty() {
                    Match::Yes
                } else {
                    Match::Maybe(Reason::UnknownNamespace)
                }
            }
        }
    }
}
