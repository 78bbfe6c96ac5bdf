//! Connections that are really made, seen by the datapath, and judged by the flows that it saw.
//!
//! Everybody who is named gets a network namespace on a [`Stage`]; every connection is a probe from
//! one to the other, which passes, as flowmon blocks nothing. What policies say of it is then asked
//! of the flows at both ends, and compared with what they say of the connection without traffic.
#![forbid(unsafe_code)]

mod cast;
#[cfg(test)]
mod tests;
mod watching;
mod word;

use std::{thread, time::Duration};

use crate::{
    kernel::{self, Datapath},
    lab::{
        self, Namespace, Pod, Stage,
        stage::{Party, Plan},
        traffic::{self, Passed, Probe},
    },
    netlink,
    policy::{Connection, Outcome, Ruleset},
};
pub use cast::Cast;
use cast::{Asked, Seat};
use watching::{Flows, Watched};
use word::End;

/// The last packets of a probe may be under way when its client has got its answer.
const PAUSE: Duration = Duration::from_millis(5);
/// They take less than so many pauses.
const PAUSES: usize = 400;

/// Why nothing could be tried.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The networks can't be made.
    #[error(transparent)]
    Lab(#[from] lab::Error),
    /// Nor watched.
    #[error(transparent)]
    Kernel(#[from] kernel::Error),
    /// Nor listed.
    #[error(transparent)]
    Netlink(#[from] netlink::Error),
    /// There are too many in it.
    #[error(
        "{0} pods, nodes and others outside are to be played by network namespaces, and at most \
         {most} can be at once: make several scenarios of it, or say --static",
        most = cast::MOST_SEATS
    )]
    TooMany(usize),
}

/// What became of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observed {
    /// It was made, and seen at each end that is a pod, alike.
    Seen(Seen),
    /// There was nothing to see, and why: its verdict is that of the policies alone.
    Unseen(String),
    /// It should have been seen and was not, or not exactly: what went wrong.
    Missed(String),
}

/// Probes of a connection: one, or one for each who answers for a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// How many.
    pub probes: usize,
    /// Packets of the initiator.
    pub sent: u64,
    /// Packets of the responder.
    pub received: u64,
    /// What the flows at both ends come to.
    pub outcome: Outcome,
    /// How that differs from what policies say without traffic: never, or one of the two is wrong.
    pub disagreement: Option<String>,
}

/// A stage with everybody on it, and the datapath on every pod.
#[derive(Debug)]
pub struct Rehearsal {
    plan: Plan,
    stage: Stage,
    watched: Watched,
}

impl Rehearsal {
    /// Builds what a cast needs, which takes root.
    ///
    /// # Errors
    /// The kernel refuses, or there are too many.
    pub fn new(datapath: &mut Datapath, cast: &Cast) -> Result<Self, Error> {
        if cast.seats() > cast::MOST_SEATS {
            return Err(Error::TooMany(cast.seats()));
        }
        let stage = Stage::new(&cast.plan)?;
        Ok(Self {
            plan: cast.plan.clone(),
            watched: Watched::attach(datapath, &stage)?,
            stage,
        })
    }

    /// Can this cast play here?
    pub fn is_for(&self, cast: &Cast) -> bool {
        self.plan == cast.plan
    }

    /// Gives the datapath back.
    ///
    /// # Errors
    /// It can't be read.
    pub fn end(self, datapath: &mut Datapath) -> Result<(), Error> {
        self.watched.finish(datapath, &self.stage)
    }

    /// Everybody's name and addresses, with the namespace: nodes, pods, others outside.
    pub fn everybody(&self) -> Vec<(&Party, &Namespace)> {
        let Plan { nodes, outside } = &self.plan;
        let mut everybody = Vec::new();
        for ((node, parties), (lab, pods)) in nodes.iter().zip(&self.stage.nodes) {
            everybody.push((node, lab.node()));
            everybody.extend(parties.iter().zip(pods.iter().map(|pod| &pod.namespace)));
        }
        everybody.extend(outside.iter().zip(&self.stage.outside));
        everybody
    }

    /// Makes every connection that `cast` was made of, and tells what became of each, in their order.
    ///
    /// # Errors
    /// The datapath can't be read.
    pub fn play(
        &self,
        datapath: &mut Datapath,
        cast: &Cast,
        ruleset: &Ruleset,
        connections: &[&Connection],
    ) -> Result<Vec<Observed>, Error> {
        let passed = cast.probes.iter().map(|asked| (asked, self.ask(asked)));
        let passed: Vec<_> = passed.collect();
        let mut flows = watching::read(datapath)?;
        for _ in 0..PAUSES {
            let is_seen = |(asked, passed): &(&Asked, Result<Passed, String>)| match passed {
                Ok(passed) => {
                    let ends = self.ends(cast, asked, passed, &flows);
                    word::exactly(asked.kind, &ends).is_ok()
                }
                Err(_) => true,
            };
            if passed.iter().all(is_seen) {
                break;
            }
            thread::sleep(PAUSE);
            flows = watching::read(datapath)?;
        }
        let words = passed.into_iter().map(|(asked, passed)| {
            let ends = self.ends(cast, asked, &passed?, &flows);
            word::of(asked.kind, &ends, ruleset)
        });
        let words: Vec<_> = words.collect();
        // The next play may have the same flows again.
        for flow in flows.values() {
            datapath.remove(flow)?;
        }
        let tasks = cast.tasks.iter().zip(connections);
        Ok(tasks
            .map(|(task, connection)| word::observed(task, connection, &words, ruleset))
            .collect())
    }

    fn ask(&self, asked: &Asked) -> Result<Passed, String> {
        let namespaces = self.namespace(asked.from).zip(self.namespace(asked.to));
        let (client, server) = namespaces.ok_or("nobody is there")?;
        let probe = Probe {
            client,
            source: asked.source,
            server,
            target: asked.target,
            kind: asked.kind,
        };
        traffic::probe(&probe).map_err(|error| format!("no answer came: {error}"))
    }

    fn namespace(&self, seat: Seat) -> Option<&Namespace> {
        match seat {
            Seat::Node(node) => Some(self.stage.nodes.get(node)?.0.node()),
            Seat::Pod(..) => Some(&self.pod(seat)?.namespace),
            Seat::Outside(number) => self.stage.outside.get(number),
        }
    }

    fn pod(&self, seat: Seat) -> Option<&Pod> {
        match seat {
            Seat::Pod(node, number) => self.stage.nodes.get(node)?.1.get(number),
            Seat::Node(_) | Seat::Outside(_) => None,
        }
    }

    /// What there is of a probe at its client and at its server.
    fn ends<'a>(
        &self,
        cast: &'a Cast,
        asked: &Asked,
        passed: &Passed,
        flows: &'a Flows,
    ) -> [End<'a>; 2] {
        let seats = [asked.from, asked.to];
        let ifindices = seats.map(|seat| self.pod(seat).map_or(0, |pod| pod.ifindex));
        let [client, server] = word::spots(asked, passed, ifindices);
        [(asked.from, client), (asked.to, server)].map(|(seat, spot)| {
            let pod = cast.pods.get(&seat);
            pod.map_or(End::Unwatched, |pod| End::Pod(pod, flows.get(&spot)))
        })
    }
}
