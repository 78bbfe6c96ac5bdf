//! The source that asks the API of Kubernetes, against one that does all that an API server does, and
//! much that it should not.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by panicking"
)]

#[expect(unreachable_pub, reason = "others have it as a module of their own")]
#[path = "../support/kube_api.rs"]
mod kube_api;

mod faults;
mod names;

use std::{collections::BTreeMap, fs, net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use flowmon::{
    identity::{Known, Links, News, Said, Sources, Trouble},
    kubernetes::Kubernetes,
    model::Identity,
};
use kube_api::Api;
use tokio::{runtime::Runtime, time::timeout};

/// Longer than anything may take that is to come: pauses after failures, and answers that don't come.
const PATIENCE: Duration = Duration::from_mins(1);

/// A source, and what it said so far.
struct Asked {
    runtime: Runtime,
    sources: Sources,
    kubeconfig: PathBuf,
    held: BTreeMap<IpAddr, Arc<Identity>>,
    here: Vec<Known>,
    is_whole: bool,
    trouble: Option<Trouble>,
    has_spoken: bool,
}

impl Drop for Asked {
    fn drop(&mut self) {
        let _removed = fs::remove_file(&self.kubeconfig);
    }
}

impl Asked {
    fn of(api: &Api) -> Self {
        Self::by(api.kubeconfig().unwrap())
    }

    fn by(kubeconfig: PathBuf) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().build().unwrap();
        let mut sources = Sources::new(Links::from([]));
        let kubernetes = Kubernetes::new(Some(kubeconfig.clone()), "here".to_owned());
        sources.start(kubernetes).unwrap();
        Self {
            runtime,
            sources,
            kubeconfig,
            held: BTreeMap::new(),
            here: Vec::new(),
            is_whole: false,
            trouble: None,
            has_spoken: false,
        }
    }

    fn take(&mut self, News { said, .. }: News) {
        self.has_spoken = true;
        match said {
            Said::Cluster(cluster) => {
                for (address, who) in cluster.held {
                    match who {
                        Some(who) => self.held.insert(address, who),
                        None => self.held.remove(&address),
                    };
                }
                self.here = cluster.here;
                self.is_whole = cluster.is_whole;
                self.trouble = cluster.trouble;
            }
            Said::Unavailable(trouble) => self.trouble = Some(trouble),
            Said::Known(_) => panic!("a cluster is told by what changes"),
        }
    }

    /// Listens until this is so.
    fn until(&mut self, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        while !is_so(self) {
            let next = async { timeout(PATIENCE, self.sources.next()).await };
            match self.runtime.block_on(next) {
                Ok(Some(news)) => self.take(news),
                _ => panic!(
                    "waited for {what}; known are {:?}, in trouble: {:?}",
                    self.held, self.trouble
                ),
            }
        }
    }

    fn until_whole(&mut self) {
        self.until("the whole cluster", |it| it.is_whole);
    }

    fn until_trouble(&mut self, says: &str) -> String {
        self.until(says, |it| it.trouble().contains(says));
        self.trouble()
    }

    fn trouble(&self) -> String {
        self.trouble
            .as_ref()
            .map_or_else(String::new, ToString::to_string)
    }

    /// Who has an address, as `kind namespace/name`.
    fn who(&self, address: &str) -> Option<String> {
        let who = self.held.get(&address.parse::<IpAddr>().unwrap())?;
        let part = |part: &Option<Arc<str>>| part.as_deref().unwrap_or("-").to_owned();
        let (namespace, name) = (part(&who.namespace), part(&who.name));
        Some(format!("{} {namespace}/{name}", who.kind.label()))
    }

    fn until_who(&mut self, address: &str, expected: Option<&str>) {
        let what = format!("{address} to be {expected:?}");
        self.until(&what, |it| it.who(address).as_deref() == expected);
    }
}
