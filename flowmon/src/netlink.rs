//! Interfaces and their changes, and the means to make some: the only place that names rtnetlink
//! and the netlink packet crates.
//!
//! A netlink socket belongs to the network namespace of the thread that opened it, for good. So
//! everything here acts on the namespace of the thread that calls [`list`] or one of the `open`s.

mod configure;
mod counters;
mod links;
mod message;
mod namespaces;

use std::io;

pub use configure::{Configure, Veth};
pub use counters::PeerCounters;
pub use links::{LinkEvent, LinkWatch, list};
pub use namespaces::{AddressWatch, InterfaceAddress, Namespaces};

/// What the kernel's routing netlink would not do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no netlink socket to talk through.
    #[error("cannot open a routing netlink socket: {0}")]
    Open(#[source] io::Error),
    /// The netlink socket stopped working; open a new one.
    #[error("cannot read interface changes from the kernel: {0}")]
    Receive(#[source] io::Error),
    /// The kernel refused a request.
    #[error("cannot {action}: {source}{}", advice(source))]
    Refused {
        /// What was asked for, to follow "cannot".
        action: String,
        /// The kernel's reason.
        source: io::Error,
    },
}

/// What the reader can do about the errors that have a known remedy.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "; CAP_NET_ADMIN is needed, run as root",
        io::ErrorKind::AlreadyExists => "; choose another name or delete the old one first",
        _ => "",
    }
}
