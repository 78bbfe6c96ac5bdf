//! What whoever judges is told of a cluster: its policies and its pods, as they change.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
};

use tokio::sync::mpsc;

use crate::{
    audit::{Amendment, Basis},
    policy::{
        Cluster, Settings,
        cluster::{Changes, Holder, ObjectId, Resource},
        inventory::PodId,
    },
};

/// Pods that are told of one by one; more of them are told of with all else.
const FEW: usize = 64;
/// Policies that are known to be of no use.
const MOST_REFUSED: usize = 10_000;

/// Tells somebody who judges.
#[derive(Debug)]
pub(super) struct Judge {
    amendments: mpsc::Sender<Amendment>,
    corners: Settings,
    has_begun: bool,
    /// What each policy said that could not be used, as a hash.
    refused: HashMap<(Resource, ObjectId), u64>,
    hash: RandomState,
    /// Refusals that were not told yet.
    refusals: usize,
}

impl Judge {
    pub(super) fn new(amendments: mpsc::Sender<Amendment>, corners: Settings) -> Self {
        Self {
            amendments,
            corners,
            has_begun: false,
            refused: HashMap::new(),
            hash: RandomState::new(),
            refusals: 0,
        }
    }

    /// There is a policy that can't be used. Returns whether that is news.
    pub(super) fn refuse(&mut self, resource: Resource, id: &ObjectId, json: &str) -> bool {
        if self.refused.len() >= MOST_REFUSED {
            self.refused.clear();
        }
        let hash = self.hash.hash_one(json);
        let before = self.refused.insert((resource, id.clone()), hash);
        let is_news = before != Some(hash);
        self.refusals += usize::from(is_news);
        is_news
    }

    /// Tells what has changed. Returns whether anybody wants to know.
    pub(super) async fn tell(&mut self, cluster: &Cluster, changes: &Changes) -> bool {
        for _ in 0..std::mem::take(&mut self.refusals) {
            if self.amendments.send(Amendment::Refused).await.is_err() {
                return false;
            }
        }
        let pods = changes.holders.keys().filter_map(pod);
        if self.has_begun && !changes.rules && pods.clone().count() <= FEW {
            for id in pods {
                let pod = cluster.members().pods.get(id).cloned();
                let amendment = Amendment::Pod(id.clone(), pod);
                if self.amendments.send(amendment).await.is_err() {
                    return false;
                }
            }
            return true;
        }
        let policies = cluster.policies();
        let basis = Basis::new(&policies, cluster.inventory(), self.corners);
        let (policies, pods) = (policies.policies.len(), basis.inventory.pods.len());
        let basis = Basis {
            unknown: cluster.unknown_policies(),
            ..basis
        };
        let amendment = Amendment::Whole(Box::new(basis));
        let is_heard = self.amendments.send(amendment).await.is_ok();
        if std::mem::replace(&mut self.has_begun, true) {
            tracing::debug!("judging by {policies} policies and {pods} pods of the cluster");
        } else {
            tracing::info!("judging by {policies} policies and {pods} pods of the cluster");
        }
        is_heard
    }
}

fn pod(holder: &Holder) -> Option<&PodId> {
    match holder {
        Holder::Pod(id) => Some(id),
        Holder::Service(_) | Holder::Node(_) => None,
    }
}
