//! What the API of Kubernetes says: who is who in the cluster, and which policies are in force.
//!
//! Every kind of objects is followed by itself (`follow`), in ways that need no network to be tried
//! (`reflect`). What they say comes together here, in one [`Cluster`].

mod api;
mod connect;
mod discover;
mod follow;
mod judge;
mod names;
mod reflect;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep_until},
};

use crate::{
    audit::Amendment,
    identity::{self, Known, Links, Outlet, Source, Trouble, clean},
    model::IdentitySource,
    policy::{Cluster, Settings, cluster::Resource},
};
use api::{APIS, Api};
use follow::Told;
use judge::Judge;
use names::{Names, is_on};
use reflect::Change;

/// Changes come in crowds, and are waited for so long together.
const GATHERING: Duration = Duration::from_millis(50);
/// After they were passed on there is a rest of so many times as long as that took.
const REST: u32 = 4;
/// Pages and events on their way.
const QUEUE: usize = 4;

/// What it needs to be allowed: to list and to watch these, by group and name
/// (`networking.k8s.io/networkpolicies`).
pub fn resources() -> impl Iterator<Item = String> {
    APIS.iter().map(|api| {
        let version = api.versions.first().copied().unwrap_or_default();
        let group = version.split_once('/').map_or("", |(group, _)| group);
        format!("{group}/{}", api.plural)
    })
}

/// A cluster, by its API.
#[derive(Debug)]
pub struct Kubernetes {
    /// Where the API server is, unless this is a pod of the cluster.
    kubeconfig: Option<PathBuf>,
    /// The name of this node.
    node: String,
    cluster: Cluster,
    names: Names,
    /// Kinds of which it is known what there is.
    complete: BTreeSet<Resource>,
    /// What is wrong, by kind.
    troubles: BTreeMap<Resource, String>,
    here: Vec<Known>,
    told: Option<State>,
    judge: Option<Judge>,
}

/// What is told besides names.
#[derive(Debug, Clone, PartialEq, Eq)]
struct State {
    is_whole: bool,
    trouble: Option<Trouble>,
}

impl Kubernetes {
    /// By the API server that `kubeconfig` names or, without it, where one is found. `node` is this
    /// node's name.
    pub fn new(kubeconfig: Option<PathBuf>, node: String) -> Self {
        Self {
            kubeconfig,
            node,
            cluster: Cluster::default(),
            names: Names::default(),
            complete: BTreeSet::new(),
            troubles: BTreeMap::new(),
            here: Vec::new(),
            told: None,
            judge: None,
        }
    }

    /// Who judges by the cluster's policies hears of them here.
    #[must_use]
    pub fn judging(self, amendments: mpsc::Sender<Amendment>, corners: Settings) -> Self {
        let judge = Some(Judge::new(amendments, corners));
        Self { judge, ..self }
    }

    fn take(&mut self, api: &'static Api, told: Told) {
        let resource = api.resource;
        match told {
            Told::Changes(version, changes) => {
                for change in changes {
                    self.change(resource, &version, change);
                }
            }
            Told::Trouble(why) => {
                self.troubles.insert(resource, why);
            }
            Told::Fine => {
                self.troubles.remove(&resource);
            }
        }
    }

    fn change(&mut self, resource: Resource, version: &str, change: Change) {
        match change {
            Change::Begin => self.cluster.begin(resource),
            Change::Put(id, json) => {
                let put = self.cluster.put(resource, version, &id, json.get());
                if let Err(why) = put {
                    let is_policy = matches!(resource, Resource::Policies(_));
                    if let Some(judge) = self.judge.as_mut().filter(|_| is_policy)
                        && !judge.refuse(resource, &id, json.get())
                    {
                        return; // that was said before
                    }
                    let called = format!("{} {}/{}", resource.kind(), id.namespace, id.name);
                    let undecided = if is_policy {
                        "; until it can, what it may be about is undecided"
                    } else {
                        ""
                    };
                    let (called, why) = (clean(&called), clean(&why.0));
                    tracing::warn!("{called} can't be used: {why}{undecided}");
                }
                let pod = self.cluster.members().pods.get(&id);
                if resource == Resource::Pods && pod.is_some_and(|pod| is_on(pod, &self.node)) {
                    self.names.see(&id, &json);
                }
            }
            Change::Remove(id) => self.cluster.remove(resource, &id),
            Change::End => {
                self.cluster.end(resource);
                self.complete.insert(resource);
            }
        }
    }

    /// Of every kind it is known what there is.
    fn is_complete(&self) -> bool {
        self.complete.len() == APIS.len()
    }

    fn trouble(&self) -> Option<Trouble> {
        let mut all = self.troubles.values();
        let first = all.next()?;
        let more = all.len();
        Some(Trouble::Broken(if more == 0 {
            first.clone()
        } else {
            format!("{first} (and {more} more kinds)")
        }))
    }

    /// Passes on what has changed. Returns whether anybody wants to know.
    async fn tell(&mut self, outlet: &mut Outlet) -> bool {
        let trouble = self.trouble();
        let is_complete = self.is_complete();
        if !is_complete && trouble.is_none() {
            return true;
        }
        let state = State {
            is_whole: is_complete && trouble.is_none(),
            trouble,
        };
        let changes = self.cluster.changes();
        let members = self.cluster.members();
        let here = self.names.here(members, &self.node);
        let held = self.names.change(members, &changes.holders);
        if let Some(judge) = self.judge.as_mut().filter(|_| is_complete)
            && !judge.tell(&self.cluster, &changes).await
        {
            return false;
        }
        if held.is_empty() && here == self.here && self.told.as_ref() == Some(&state) {
            return true;
        }
        self.here.clone_from(&here);
        self.told = Some(state.clone());
        outlet
            .tell_cluster(identity::Cluster {
                here,
                held,
                is_whole: state.is_whole,
                known: members.pods.len() + members.services.len() + members.nodes.len(),
                trouble: state.trouble,
            })
            .await
    }
}

impl Source for Kubernetes {
    fn name(&self) -> IdentitySource {
        IdentitySource::Kubernetes
    }

    async fn follow(&mut self, links: &mut watch::Receiver<Links>, outlet: &mut Outlet) -> Trouble {
        let client = match connect::client(self.kubeconfig.as_deref()).await {
            Ok(client) => client,
            Err(trouble) => return trouble,
        };
        let (sender, mut told) = mpsc::channel(QUEUE);
        // They end when this is dropped.
        let mut followers = JoinSet::new();
        for api in &APIS {
            followers.spawn(follow::follow(client.clone(), api, sender.clone()));
        }
        let nobody = || Trouble::Absent("nobody asks any more".to_owned());
        let mut due: Option<Instant> = None;
        let mut rested = Instant::now();
        loop {
            tokio::select! {
                biased;
                changed = links.changed() => {
                    if changed.is_err() {
                        return nobody();
                    }
                }
                () = at(due) => {
                    due = None;
                    let began = Instant::now();
                    if !self.tell(outlet).await {
                        return nobody();
                    }
                    rested = Instant::now() + began.elapsed() * REST;
                }
                Some((api, told)) = told.recv() => {
                    self.take(api, told);
                    due.get_or_insert_with(|| rested.max(Instant::now() + GATHERING));
                }
            }
        }
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}
