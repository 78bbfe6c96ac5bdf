//! Throw-away networks: what `flowmon demo` watches, and what the tests measure against.
//!
//! A [`Lab`] is a node with a bridge and pods behind it, each in a network namespace that only
//! this process holds: when it ends, however it ends, the kernel takes everything away.

mod demo;
mod namespace;
mod registration;
pub mod stage;
mod topology;
pub mod traffic;

use std::io;

pub use demo::{DemoNetwork, TrafficHandle};
pub use namespace::Namespace;
pub use registration::Registration;
pub use stage::Stage;
pub use topology::{Lab, Pod};

use crate::netlink;

/// Why a throw-away network could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No network namespace.
    #[error("cannot create network namespace {name}: {source}{}", advice(source))]
    Create {
        /// The namespace's name in messages.
        name: String,
        /// The kernel's reason.
        source: io::Error,
    },
    /// No thread, or it may not enter the namespace.
    #[error("cannot run in network namespace {name}: {source}{}", advice(source))]
    Enter {
        /// The namespace's name in messages.
        name: String,
        /// The system's reason.
        source: io::Error,
    },
    /// A setting under `/proc/sys` could not be made.
    #[error("cannot set {path} to {value}: {source}")]
    Sysctl {
        /// File name.
        path: String,
        /// What should have been written.
        value: String,
        /// The kernel's reason.
        source: io::Error,
    },
    /// Nowhere to write who the pods are.
    #[error(
        "cannot mount a folder in memory, or write there: {source}{}",
        advice(source)
    )]
    Register {
        /// The system's reason.
        source: io::Error,
    },
    /// An interface could not be made or changed.
    #[error(transparent)]
    Netlink(#[from] netlink::Error),
    /// A pod's interface did not come up in time.
    #[error("interface {0} still carries no frames after {limit:?}", limit = topology::PATIENCE)]
    NotReady(String),
    /// Traffic that should have passed did not.
    #[error("{exchange} failed: {source}")]
    Traffic {
        /// Who tried what with whom.
        exchange: String,
        /// What went wrong.
        source: io::Error,
    },
}

/// What the reader can do about the error that has a known remedy.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "; CAP_SYS_ADMIN is needed, run as root",
        _ => "",
    }
}
