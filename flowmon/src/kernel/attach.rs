//! Where the programs run: tcx where the kernel has it, clsact where it has not.

use aya::{
    Ebpf,
    programs::{
        LinkOrder, ProgramError, SchedClassifier, TcAttachType,
        tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions, TcError},
    },
};

use super::{Error, object};
use crate::model::{Interface, LinkLayer};

const ETHERNET: [&str; 2] = ["flowmon_tx", "flowmon_rx"];
const IP: [&str; 2] = ["flowmon_ip_tx", "flowmon_ip_rx"];

/// Every program, by the name of its function.
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
    _links: [SchedClassifierLink; 2],
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
        let mut link = |name, kind| -> Result<SchedClassifierLink, Error> {
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

fn link(
    program: &mut SchedClassifier,
    interface: &Interface,
    kind: TcAttachType,
    hook: Hook,
) -> Result<SchedClassifierLink, ProgramError> {
    let options = match hook {
        // First, so that we also see what a program behind us drops or redirects.
        Hook::Tcx => TcAttachOptions::TcxOrder(LinkOrder::first()),
        Hook::Clsact => TcAttachOptions::Netlink(NlOptions::default()),
    };
    let id = program.attach_with_options(&interface.name, kind, options)?;
    program.take_link(id)
}

/// Adds the clsact qdisc where there is none. One that is there stays as it is, whosever it is.
fn add_clsact(interface: &str) -> Result<(), ProgramError> {
    match tc::qdisc_add_clsact(interface) {
        Ok(()) | Err(TcError::AlreadyAttached) => Ok(()),
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

fn errno(error: &ProgramError) -> Option<i32> {
    let error: &(dyn std::error::Error + 'static) = error;
    std::iter::successors(Some(error), |error| error.source())
        .find_map(|error| error.downcast_ref::<std::io::Error>()?.raw_os_error())
}
