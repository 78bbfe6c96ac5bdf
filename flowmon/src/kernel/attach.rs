//! Where the programs run: tcx where the kernel has it, clsact where it has not.

use std::{
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    sync::Arc,
};

use aya::{Ebpf, programs::SchedClassifier};
use nix::libc::{EACCES, EINVAL, ENODEV, ENXIO, EPERM};

use super::{
    Error,
    clsact::{Filters, Owner, Refusal},
    object,
    pins::Pins,
    tcx,
};
use crate::model::{Interface, LinkLayer};

pub(super) const ETHERNET: [&str; 2] = ["flowmon_tx", "flowmon_rx"];
const IP: [&str; 2] = ["flowmon_ip_tx", "flowmon_ip_rx"];

/// Every program that is attached, by the name of its function.
pub(super) const PROGRAMS: [&str; 4] = [ETHERNET[0], ETHERNET[1], IP[0], IP[1]];

/// How a program is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// A tcx link (Linux 6.6): the kernel removes it with the process, however that ends, unless it
    /// is pinned.
    Tcx,
    /// A filter on the clsact qdisc.
    Clsact,
}

impl Hook {
    /// Its name in messages.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        }
    }
}

/// Both directions of one interface. Dropping it detaches, unless it is a daemon's.
pub(super) enum Attachment {
    Tcx { _links: [OwnedFd; 2] },
    Clsact { _filters: Filters },
}

impl Attachment {
    pub(super) const fn hook(&self) -> Hook {
        match self {
            Self::Tcx { .. } => Hook::Tcx,
            Self::Clsact { .. } => Hook::Clsact,
        }
    }
}

/// Attaches to `interface` by `hook`, or by the best one this kernel has. `owner` becomes the owner
/// of this process's filters when the first one is made. With `pins`, what a daemon before this
/// process attached is taken over, and what is attached outlives this one.
pub(super) fn attach(
    ebpf: &mut Ebpf,
    owner: &mut Option<Arc<Owner>>,
    pins: Option<&Pins>,
    interface: &Interface,
    hook: Option<Hook>,
) -> Result<Attachment, Error> {
    let [tx, rx] = match interface.link_layer {
        LinkLayer::Ethernet => ETHERNET,
        LinkLayer::Ip => IP,
        LinkLayer::Other(arphrd) => {
            return Err(Error::LinkLayer {
                interface: interface.name.clone(),
                arphrd,
            });
        }
    };
    // What an endpoint behind the interface sends comes in here; what this host sends goes out.
    let [ingress, egress] = if interface.leads_to_endpoint() {
        [tx, rx]
    } else {
        [rx, tx]
    };
    for name in [ingress, egress] {
        object::program(ebpf, name)?;
    }
    let programs = [(ingress, fd(ebpf, ingress)?), (egress, fd(ebpf, egress)?)];
    let result = match hook {
        Some(Hook::Tcx) => tcx(programs, pins, interface.ifindex),
        Some(Hook::Clsact) => clsact(programs, owner, interface.ifindex),
        None => match tcx(programs, pins, interface.ifindex) {
            Err(Refusal::Kernel(error)) if error.raw_os_error() == Some(EINVAL) => {
                clsact(programs, owner, interface.ifindex)
            }
            other => other,
        },
    };
    result.map_err(|refusal| failure(interface, refusal))
}

/// The ingress program, then the egress program, each with its name.
type Programs<'a> = [(&'static str, BorrowedFd<'a>); 2];

/// First of all, so that we also see what a program behind us accepts, drops or redirects.
fn tcx(
    [ingress, egress]: Programs<'_>,
    pins: Option<&Pins>,
    ifindex: u32,
) -> Result<Attachment, Refusal> {
    let links = tcx::attach_first([ingress.1, egress.1], ifindex, pins)?;
    Ok(Attachment::Tcx { _links: links })
}

fn clsact(
    [ingress, egress]: Programs<'_>,
    owner: &mut Option<Arc<Owner>>,
    ifindex: u32,
) -> Result<Attachment, Refusal> {
    let owner = match owner {
        Some(owner) => owner,
        None => owner.insert(Arc::new(Owner::new()?)),
    };
    Ok(Attachment::Clsact {
        _filters: Filters::add(owner, ifindex, ingress, egress)?,
    })
}

fn fd<'a>(ebpf: &'a Ebpf, name: &'static str) -> Result<BorrowedFd<'a>, Error> {
    let missing = || Error::Mismatch { name };
    let program = ebpf.program(name).ok_or_else(missing)?;
    let program: &SchedClassifier = program.try_into()?;
    Ok(program.fd()?.as_fd())
}

fn failure(interface: &Interface, refusal: Refusal) -> Error {
    let interface = interface.name.clone();
    let error = match refusal {
        Refusal::IngressQdisc => return Error::IngressQdisc { interface },
        Refusal::Kernel(error) => error,
    };
    match error.raw_os_error() {
        Some(ENODEV | ENXIO) => Error::Gone { interface },
        Some(EPERM | EACCES) => Error::NotPermitted {
            what: "attach to interfaces",
            missing: super::capability::missing().join(", "),
        },
        _ => Error::Attach {
            interface,
            reason: error.to_string(),
        },
    }
}
