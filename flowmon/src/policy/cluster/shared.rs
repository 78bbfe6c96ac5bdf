//! What many objects have in common is kept once: names of namespaces and nodes, labels.

use std::{collections::HashSet, sync::Arc};

use crate::policy::{
    Labels,
    inventory::{Item, Pod, PodId},
};

/// So much may be kept that nobody has any more.
const SURPLUS: usize = 1024;

/// Everything that somebody has, and something that nobody has any more.
#[derive(Debug, Default)]
pub(super) struct Shared {
    words: HashSet<Arc<str>>,
    labels: HashSet<Labels>,
    /// How much there was when the last of it was thrown away.
    in_use: usize,
}

impl Shared {
    /// Puts what is known already in the place of what is equal to it.
    pub(super) fn share(&mut self, item: &mut Item) {
        match item {
            Item::Namespace(_, labels) => self.labels(labels),
            Item::Node(_, node) => self.labels(&mut node.labels),
            Item::Pod(id, pod) => self.pod(id, pod),
            Item::Service(id, service) => {
                self.word(&mut id.namespace);
                if let Some(selector) = &mut service.selector {
                    self.labels(selector);
                }
            }
            Item::Slice(id, slice) => {
                self.word(&mut id.namespace);
                self.word(&mut slice.service.namespace);
                for backend in &mut slice.backends {
                    self.word(&mut backend.port_name);
                }
                slice.backends.shrink_to_fit();
            }
            Item::Endpoints(..) | Item::NoServices | Item::Other => {}
        }
        if self.kept() > 2 * self.in_use + SURPLUS {
            self.labels.retain(|labels| labels.shared_by() > 1);
            self.words.retain(|word| Arc::strong_count(word) > 1);
            self.in_use = self.kept();
        }
    }

    /// How much there is, used or not.
    pub(super) fn kept(&self) -> usize {
        self.words.len() + self.labels.len()
    }

    fn pod(&mut self, id: &mut PodId, pod: &mut Pod) {
        self.word(&mut id.namespace);
        self.labels(&mut pod.labels);
        if let Some(owner) = &mut pod.owner {
            self.word(&mut owner.kind);
            self.word(&mut owner.name);
        }
        if let Some(node) = &mut pod.node {
            self.word(node);
        }
        for port in &mut pod.ports {
            self.word(&mut port.name);
        }
        pod.addresses.shrink_to_fit();
        pod.host_addresses.shrink_to_fit();
        pod.ports.shrink_to_fit();
    }

    fn word(&mut self, word: &mut Arc<str>) {
        match self.words.get(word) {
            Some(known) => *word = Arc::clone(known),
            None => _ = self.words.insert(Arc::clone(word)),
        }
    }

    fn labels(&mut self, labels: &mut Labels) {
        if let Some(known) = self.labels.get(labels) {
            *labels = known.clone();
            return;
        }
        let words = std::mem::take(labels).into_iter();
        *labels = words
            .map(|(mut key, mut value)| {
                self.word(&mut key);
                self.word(&mut value);
                (key, value)
            })
            .collect();
        self.labels.insert(labels.clone());
    }
}
