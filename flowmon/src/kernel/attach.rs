//! Where the programs run: tcx where the kernel has it, clsact where it has not.

use std::os::fd::{AsFd as _, OwnedFd};

use aya::{
    Ebpf,
    programs::{
        ProgramError, SchedClassifier, TcAttachType,
        tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions, TcError},
    },
    sys::SyscallError,
};

use super::{Error, object, tcx};
use crate::model::{Interface, LinkLayer};

pub(super) const ETHERNET: [&str; 2] = ["flowmon_tx", "flowmon_rx"];
const IP: [&str; 2] = ["flowmon_ip_tx", "flowmon_ip_rx"];

/// Every program that is attached, by the name of its function.
pub(super) const PROGRAMS: [&str; 4] = [ETHERNET[0], ETHERNET[1], IP[0], IP[1]];

/// How a program is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// A tcx link (Linux 6.6): the kernel removes it with the process, however that ends.
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

/// Both directions of one interface. Dropping it detaches.
pub(super) struct Attachment {
    hook: Hook,
    _links: [Link; 2],
}

/// What detaches when it is dropped.
enum Link {
    Tcx { _link: OwnedFd },
    Clsact { _link: SchedClassifierLink },
}

impl Attachment {
    pub(super) const fn hook(&self) -> Hook {
        self.hook
    }
}

/// Attaches to `interface` by `hook`, or by the best one this kernel has.
pub(super) fn attach(
    ebpf: &mut Ebpf,
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
    let [from_endpoint, to_endpoint] = if interface.leads_to_endpoint() {
        [TcAttachType::Ingress, TcAttachType::Egress]
    } else {
        [TcAttachType::Egress, TcAttachType::Ingress]
    };
    let mut by = |hook| -> Result<Attachment, ProgramError> {
        if hook == Hook::Clsact {
            add_clsact(&interface.name)?;
        }
        let mut link = |name, kind| -> Result<Link, Error> {
            Ok(link(object::program(ebpf, name)?, interface, kind, hook)?)
        };
        let links = (|| Ok([link(tx, from_endpoint)?, link(rx, to_endpoint)?]))();
        match links {
            Ok(links) => Ok(Attachment {
                hook,
                _links: links,
            }),
            Err(Error::Program(error)) => Err(error),
            Err(_) => Err(ProgramError::NotLoaded),
        }
    };
    let result = match hook {
        Some(hook) => by(hook),
        None => match by(Hook::Tcx) {
            Err(error) if errno(&error) == Some(nix::libc::EINVAL) => by(Hook::Clsact),
            other => other,
        },
    };
    result.map_err(|error| failure(interface, &error))
}

/// First of all, so that we also see what a program behind us accepts, drops or redirects.
fn link(
    program: &mut SchedClassifier,
    interface: &Interface,
    kind: TcAttachType,
    hook: Hook,
) -> Result<Link, ProgramError> {
    if hook == Hook::Tcx {
        let link = tcx::attach_first(program.fd()?.as_fd(), interface.ifindex, kind);
        let call = "bpf_link_create";
        let link = link.map_err(|io_error| SyscallError { call, io_error })?;
        return Ok(Link::Tcx { _link: link });
    }
    let mut attach = |options| program.attach_with_options(&interface.name, kind, options);
    let id = match attach(filter(FIRST)) {
        // A classifier of another kind has that place: the kernel gives us one behind it.
        Err(error) if errno(&error) == Some(nix::libc::EINVAL) => attach(filter(ANY))?,
        other => other?,
    };
    let link = program.take_link(id)?;
    Ok(Link::Clsact { _link: link })
}

/// Preferences of filters: the lowest is asked first, 0 leaves the choice to the kernel.
const FIRST: u16 = 1;
const ANY: u16 = 0;

fn filter(priority: u16) -> TcAttachOptions {
    TcAttachOptions::Netlink(NlOptions {
        priority,
        ..NlOptions::default()
    })
}

/// Adds the clsact qdisc where there is none. One that is there stays as it is, whosever it is.
fn add_clsact(interface: &str) -> Result<(), ProgramError> {
    match tc::qdisc_add_clsact(interface) {
        Ok(()) | Err(TcError::AlreadyAttached) => Ok(()),
        // This is how aya 0.14 says so.
        Err(TcError::NetlinkError(error)) if error.raw_os_error() == Some(nix::libc::EEXIST) => {
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

fn failure(interface: &Interface, error: &ProgramError) -> Error {
    let interface = interface.name.clone();
    match errno(error) {
        Some(nix::libc::ENODEV | nix::libc::ENXIO) => Error::Gone { interface },
        Some(nix::libc::EPERM | nix::libc::EACCES) => Error::NotPermitted {
            what: "attach to interfaces",
            missing: super::capability::missing().join(", "),
        },
        _ => Error::Attach {
            interface,
            reason: error.to_string(),
        },
    }
}

/// The kernel's own error number. Asked for by type: a transparent error does not name the one it
/// wraps as its source.
fn errno(error: &ProgramError) -> Option<i32> {
    match error {
        ProgramError::SyscallError(error) => error.io_error.raw_os_error(),
        ProgramError::TcError(TcError::IoError(error)) => error.raw_os_error(),
        ProgramError::TcError(TcError::NetlinkError(error)) | ProgramError::NetlinkError(error) => {
            error.raw_os_error()
        }
        _ => None,
    }
}
