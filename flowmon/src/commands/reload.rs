//! Policies and inventory in files: read in order to begin, and again when they change, in a thread of
//! its own. What can't be used changes nothing.

use std::{path::PathBuf, thread, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    time::{Instant, sleep, timeout},
};

use super::{Exit, Failure, documents, files, runtime};
use crate::{
    audit::{Amendment, Basis},
    file_watch::FileWatch,
    pipeline::Policies,
    policy::{Inventory, PolicySet},
    settings::Judging,
};

/// Whoever writes one file may write others: they are read when nothing has changed for so long, but
/// not later than after so many times that.
const QUIET: Duration = Duration::from_millis(50);
const MOST_WAITS: usize = 10;

/// After they were read there is a rest of so many times as long as that took.
const REST: u32 = 4;

/// Where the kernel can't tell of changes, they are looked for this often.
const POLL: Duration = Duration::from_secs(10);

/// Amendments on their way.
const QUEUE: usize = 16;

/// Reads them, and follows their changes. With `on_hangup`, SIGHUP has them read again.
pub(super) fn follow(judging: &Judging, on_hangup: bool) -> Result<Policies, Failure> {
    let (sender, amendments) = mpsc::channel(QUEUE);
    let read = Read::of(judging)?;
    let basis = read.basis(judging);
    let follower = Follower {
        judging: judging.clone(),
        read,
        sender,
    };
    let is_stream = |path: &PathBuf| path.as_os_str() == "-";
    if judging
        .policies
        .iter()
        .chain(&judging.inventory)
        .any(is_stream)
    {
        tracing::debug!("standard input is read once: policies and inventory stay as they are");
    } else {
        let failed = |error| Failure::new(Exit::CannotObserve, format_args!("starting: {error}"));
        let runtime = runtime()?;
        thread::Builder::new()
            .name("policies".to_owned())
            .spawn(move || runtime.block_on(follower.follow(on_hangup)))
            .map_err(failed)?;
    }
    Ok(Policies {
        basis: Some(basis),
        amendments,
    })
}

/// All documents, as they were read.
#[derive(PartialEq)]
struct Read {
    policies: PolicySet,
    inventory: Inventory,
}

impl Read {
    fn of(judging: &Judging) -> Result<Self, Failure> {
        Ok(Self {
            policies: documents::policies(&judging.policies)?,
            inventory: documents::inventory(&judging.inventory)?,
        })
    }

    fn basis(&self, judging: &Judging) -> Basis {
        Basis::new(&self.policies, self.inventory.clone(), judging.corners)
    }
}

struct Follower {
    judging: Judging,
    read: Read,
    sender: mpsc::Sender<Amendment>,
}

impl Follower {
    async fn follow(mut self, on_hangup: bool) {
        let mut hangups = on_hangup
            .then(|| signal(SignalKind::hangup()).ok())
            .flatten();
        while !self.sender.is_closed() {
            // Folders come and go, so they are looked for each time. Watched before they are read, so
            // that nothing is missed.
            let changes = self.watch();
            let began = Instant::now();
            if !self.reread().await {
                return;
            }
            // What changes all the time is not read all the time.
            sleep(began.elapsed() * REST).await;
            tokio::select! {
                () = changed(changes.as_ref()) => {}
                () = hung_up(hangups.as_mut()) => {}
                () = self.sender.closed() => return,
            }
            for _ in 0..MOST_WAITS {
                if timeout(QUIET, changed(changes.as_ref())).await.is_err() {
                    break;
                }
            }
        }
    }

    fn watch(&self) -> Option<FileWatch> {
        let Judging {
            policies,
            inventory,
            ..
        } = &self.judging;
        let folders = files::folders(policies.iter().chain(inventory));
        match FileWatch::of(folders) {
            Ok(watch) => Some(watch),
            Err(error) => {
                tracing::debug!("changes of policies are looked for every {POLL:?}: {error}");
                None
            }
        }
    }

    /// Returns whether anybody wants to know.
    async fn reread(&mut self) -> bool {
        let (amendment, error) = match Read::of(&self.judging) {
            Ok(read) if read == self.read => return true,
            Ok(read) => {
                self.read = read;
                let basis = self.read.basis(&self.judging);
                (Amendment::Whole(Box::new(basis)), None)
            }
            Err(failure) => (Amendment::Refused, Some(failure)),
        };
        // Who reads that it was read may rely on it.
        let is_heard = self.sender.send(amendment).await.is_ok();
        match error {
            None => {
                let Read {
                    policies,
                    inventory,
                } = &self.read;
                let (policies, pods) = (policies.policies.len(), inventory.pods.len());
                tracing::info!("judging by {policies} policies and {pods} pods, read anew");
            }
            Some(failure) => {
                tracing::error!("{}: what was read before stays in force", failure.message);
            }
        }
        is_heard
    }
}

async fn changed(watch: Option<&FileWatch>) {
    match watch {
        Some(watch) => {
            if let Err(error) = watch.changed().await {
                tracing::debug!("waiting for changes of policies: {error}");
                sleep(POLL).await;
            }
        }
        None => sleep(POLL).await,
    }
}

async fn hung_up(hangups: Option<&mut Signal>) {
    match hangups {
        Some(hangups) => _ = hangups.recv().await,
        None => std::future::pending().await,
    }
}
