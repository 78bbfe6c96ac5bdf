//! What a source is, and how it is run: in a thread of its own, so that whatever it waits for
//! keeps nobody else waiting.

use std::{fmt, future::Future, io, net::IpAddr, sync::Arc, thread, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};

use super::Known;
use crate::model::{Identity, IdentitySource, Interface};

/// A source that failed is tried again after a time that doubles from the shortest to the longest.
const SHORTEST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Whether a source that was not there has come is looked after this often: that costs nothing.
const ABSENT_PAUSE: Duration = Duration::from_secs(2);

/// News that are on their way, at most: then the sources wait.
const MOST_NEWS: usize = 64;

/// Interfaces that lead to endpoints. When they change, every source looks again.
pub type Links = Arc<[Interface]>;

/// What a source says.
#[derive(Debug)]
pub struct News {
    /// Who says it.
    pub source: IdentitySource,
    /// What.
    pub said: Said,
}

/// What a source says.
#[derive(Debug)]
pub enum Said {
    /// All that it knows.
    Known(Vec<Known>),
    /// What it knows of a whole cluster.
    Cluster(Cluster),
    /// It knows no more than before.
    Unavailable(Trouble),
}

/// A cluster, too big to be told as a whole whenever something changes.
#[derive(Debug, Default)]
pub struct Cluster {
    /// Everybody on this host: who is behind an interface is one of these.
    pub here: Vec<Known>,
    /// Who holds an address by now, or that nobody does: of those addresses where that has changed.
    pub held: Vec<(IpAddr, Option<Arc<Identity>>)>,
    /// Whoever has an address in the cluster is known.
    pub is_whole: bool,
    /// How many there are, all in all.
    pub known: usize,
    /// What is wrong, though this is known.
    pub trouble: Option<Trouble>,
}

/// Why a source can't tell anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// It is not there, which is as good as being there: not every node has every runtime.
    Absent(String),
    /// It is there, but does not work.
    Broken(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent(why) | Self::Broken(why) => f.pad(why),
        }
    }
}

/// Somebody who knows who is who.
pub trait Source: Send + 'static {
    /// Which one.
    fn name(&self) -> IdentitySource;

    /// Tells what it knows, and again whenever that changes, until it can't: then why. It may wait
    /// and block as it likes.
    fn follow(
        &mut self,
        links: &mut watch::Receiver<Links>,
        outlet: &mut Outlet,
    ) -> impl Future<Output = Trouble>;
}

/// Where a source's news go.
pub struct Outlet {
    source: IdentitySource,
    news: mpsc::Sender<News>,
    last: Option<Vec<Known>>,
}

impl Outlet {
    /// Tells all that is known, if it is something else than before.
    pub(super) async fn tell(&mut self, known: Vec<Known>) {
        if self.last.as_ref() == Some(&known) {
            return;
        }
        self.last = Some(known.clone());
        self.say(Said::Known(known)).await;
    }

    /// Tells what has changed in the cluster. Returns whether anybody wants to know.
    pub async fn tell_cluster(&mut self, cluster: Cluster) -> bool {
        self.last.get_or_insert_default();
        self.say(Said::Cluster(cluster)).await;
        !self.news.is_closed()
    }

    async fn say(&self, said: Said) {
        let source = self.source;
        // Without anybody to hear it the thread ends soon.
        let _heard = self.news.send(News { source, said }).await;
    }
}

/// All sources that were started: what they say, and how to make them look again.
pub struct Sources {
    news: mpsc::Receiver<News>,
    sender: mpsc::Sender<News>,
    links: watch::Sender<Links>,
    started: usize,
}

impl Sources {
    /// None yet. `links` are the interfaces there are now.
    pub fn new(links: Links) -> Self {
        let (sender, news) = mpsc::channel(MOST_NEWS);
        Self {
            news,
            sender,
            links: watch::Sender::new(links),
            started: 0,
        }
    }

    /// How many were started.
    pub const fn started(&self) -> usize {
        self.started
    }

    /// The next thing that one of them says. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<News> {
        self.news.recv().await
    }

    /// The interfaces are these from now on.
    pub fn look_at(&self, links: Links) {
        self.links.send_replace(links);
    }

    /// Starts a source, in the network namespace of the calling thread.
    pub fn start(&mut self, source: impl Source) -> io::Result<()> {
        let outlet = Outlet {
            source: source.name(),
            news: self.sender.clone(),
            last: None,
        };
        let links = self.links.subscribe();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        thread::Builder::new()
            .name(outlet.source.label().to_owned())
            .spawn(move || runtime.block_on(keep(source, links, outlet)))?;
        self.started += 1;
        Ok(())
    }
}

async fn keep(mut source: impl Source, mut links: watch::Receiver<Links>, mut outlet: Outlet) {
    let mut pause = SHORTEST_PAUSE;
    let mut before = None;
    while !outlet.news.is_closed() {
        let trouble = source.follow(&mut links, &mut outlet).await;
        if outlet.last.take().is_some() {
            pause = SHORTEST_PAUSE; // it worked for a while
            before = None;
        }
        let wait = match trouble {
            Trouble::Absent(_) => ABSENT_PAUSE,
            Trouble::Broken(_) => pause,
        };
        if before.as_ref() != Some(&trouble) {
            outlet.say(Said::Unavailable(trouble.clone())).await;
            before = Some(trouble);
        }
        sleep(wait).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
