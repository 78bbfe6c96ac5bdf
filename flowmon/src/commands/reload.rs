//! Policies and inventory in files: read in order to begin, and again when they change, in a thread of
//! its own. What can't be used changes nothing.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    thread,
    time::Duration,
};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    time::{Instant, sleep, timeout},
};

use super::{Exit, Failure, documents, files, runtime};
use crate::{
    audit::{Amendment, Basis},
    file_watch::FileWatch,
    identity::{self, Known},
    pipeline::Policies,
    settings::{Judging, Watch},
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

/// What a watch begins with: policies, if it judges by files, and whom the user declared. Policies and
/// inventory are followed; with `on_hangup`, SIGHUP has them read again.
pub(super) fn begin(
    watch: &Watch,
    on_hangup: bool,
) -> Result<(Option<Policies>, Vec<Known>), Failure> {
    let judging = watch.judging.as_ref();
    let judging = judging.filter(|judging| !judging.policies.is_empty());
    if judging.is_some() && watch.places.kubernetes.is_some() {
        let message = "with --kubernetes, policies are those of the cluster: leave out --policies";
        return Err(Failure::new(Exit::Usage, message));
    }
    let policies = judging.map(|judging| follow(judging, on_hangup));
    let policies = policies.transpose()?;
    let basis = policies
        .as_ref()
        .and_then(|policies| policies.basis.as_ref());
    let declared = match basis {
        Some(basis) => identity::declared(&basis.inventory),
        None => identity::declared(&documents::inventory(&watch.places.inventory)?),
    };
    Ok((policies, declared))
}

/// Reads them, and follows their changes. With `on_hangup`, SIGHUP has them read again.
fn follow(judging: &Judging, on_hangup: bool) -> Result<Policies, Failure> {
    let (sender, amendments) = mpsc::channel(QUEUE);
    // Before they are read: what changes meanwhile is read again.
    let digest = digest(judging);
    let basis = read(judging)?;
    let follower = Follower {
        judging: judging.clone(),
        digest,
        sender,
    };
    let mut paths = judging.policies.iter().chain(&judging.inventory);
    if paths.any(|path| path.as_os_str() == "-") {
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
        is_declared: true,
    })
}

fn read(judging: &Judging) -> Result<Basis, Failure> {
    let policies = documents::policies(&judging.policies)?;
    let inventory = documents::inventory(&judging.inventory)?;
    Ok(Basis::new(&policies, inventory, judging.corners))
}

/// Tells whether anything in the files has changed. What can't be used is told once, not whenever
/// something near it changes.
fn digest(judging: &Judging) -> u64 {
    let mut hasher = DefaultHasher::new();
    for paths in [&judging.policies, &judging.inventory] {
        match files::read(paths, |name, text| (name, text).hash(&mut hasher)) {
            Ok(unreadable) => {
                for problem in unreadable {
                    problem.message.hash(&mut hasher);
                }
            }
            Err(failure) => failure.message.hash(&mut hasher),
        }
    }
    hasher.finish()
}

struct Follower {
    judging: Judging,
    /// Of what was read last.
    digest: u64,
    sender: mpsc::Sender<Amendment>,
}

impl Follower {
    async fn follow(mut self, on_hangup: bool) {
        let mut hangups = on_hangup
            .then(|| signal(SignalKind::hangup()).ok())
            .flatten();
        let mut is_asked = false;
        while !self.sender.is_closed() {
            // Folders come and go, so they are looked for each time. Watched before they are read, so
            // that nothing is missed.
            let changes = self.watch();
            let began = Instant::now();
            let digest = digest(&self.judging);
            if is_asked || digest != self.digest {
                self.digest = digest;
                if !self.reread().await {
                    return;
                }
            }
            // What changes all the time is not read all the time.
            sleep(began.elapsed() * REST).await;
            is_asked = tokio::select! {
                () = changed(changes.as_ref()) => false,
                () = hung_up(hangups.as_mut()) => true,
                () = self.sender.closed() => return,
            };
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
        let (amendment, said) = match read(&self.judging) {
            Ok(basis) => {
                let policies: usize = basis.policies.values().sum();
                let pods = basis.inventory.pods.len();
                (Amendment::Whole(Box::new(basis)), Ok((policies, pods)))
            }
            Err(failure) => (Amendment::Refused, Err(failure)),
        };
        // Who reads that it was read may rely on it.
        let is_heard = self.sender.send(amendment).await.is_ok();
        match said {
            Ok((policies, pods)) => {
                tracing::info!("judging by {policies} policies and {pods} pods, read anew");
            }
            Err(failure) => {
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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use std::fs;

    use nix::sys::signal::{Signal, raise};

    use super::*;

    const POLICY: &str = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
         metadata: {name: p, namespace: default}\nspec: {podSelector: {}}";

    #[test]
    fn a_hangup_has_it_read_again() {
        let folder = std::env::temp_dir().join(format!("flowmon-reload-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("policy.yaml");
        fs::write(&path, POLICY).unwrap();
        let judging = Judging {
            policies: vec![folder.clone()],
            inventory: Vec::new(),
            corners: crate::policy::Settings::default(),
        };
        let mut policies = follow(&judging, true).unwrap();
        let by_kind = policies.basis.map(|basis| basis.policies);
        assert_eq!(by_kind.unwrap().get("NetworkPolicy"), Some(&1));
        let mut next = || policies.amendments.blocking_recv();
        fs::write(&path, "nonsense").unwrap();
        assert!(matches!(next(), Some(Amendment::Refused)));
        // What is no document is nobody's concern.
        fs::write(folder.join("notes.txt"), "nonsense").unwrap();
        raise(Signal::SIGHUP).unwrap();
        assert!(matches!(next(), Some(Amendment::Refused)));
        fs::write(&path, POLICY.replace("name: p", "name: q")).unwrap();
        assert!(matches!(next(), Some(Amendment::Whole(_))));
        fs::remove_dir_all(folder).unwrap();
    }
}
