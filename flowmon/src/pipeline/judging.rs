//! Every flow's verdict while it is watched.

use tokio::sync::mpsc;

use crate::audit::{Amendment, Basis};

/// What flows are judged by, and where it is said what becomes of that: by who reads files, or asks
/// Kubernetes. When the sender is dropped, the basis stays as it is.
#[derive(Debug)]
pub struct Policies {
    /// What there is now; until there is something, flows are undecided.
    pub basis: Option<Basis>,
    /// What becomes of it.
    pub amendments: mpsc::Receiver<Amendment>,
}
