//! The witness's place: XDP, by a link (Linux 5.9), so that it goes with the process.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
};

use aya::Ebpf;
use nix::libc::{EBUSY, EEXIST, ENODEV, EOPNOTSUPP};

use super::{Error, link, object};
use crate::model::{Interface, LinkLayer};

/// How the witness is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XdpMode {
    /// Generic: the kernel runs it on socket buffers.
    Skb,
    /// In the driver. On a veth this takes segmentation offload from the container.
    Native,
}

impl XdpMode {
    /// Its name on the command line and in reports.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Skb => "skb",
            Self::Native => "native",
        }
    }

    /// `XDP_FLAGS_*` of `include/uapi/linux/if_link.h`. Never "whatever fits", which on a veth is
    /// the driver.
    const fn flags(self) -> u32 {
        match self {
            Self::Skb => 1 << 1,
            Self::Native => 1 << 2,
        }
    }
}

/// The program. It does not declare that it takes frames in pieces: with one that does, generic XDP
/// of Linux 6.18 leaves a buffer that is 14 bytes too short to tc.
pub(super) const PROGRAM: &str = "flowmon_xdp";

const BPF_XDP: u32 = 37;

/// Does XDP show what the endpoint sends? Not at an interface of this host's own, and not where
/// frames have no Ethernet header.
pub(super) fn shows_endpoint(interface: &Interface) -> bool {
    interface.leads_to_endpoint() && interface.link_layer == LinkLayer::Ethernet
}

/// Attaches to `interface`, until the descriptor is closed. What others attached there stays.
pub(super) fn attach(
    ebpf: &mut Ebpf,
    interface: &Interface,
    mode: XdpMode,
) -> Result<OwnedFd, Error> {
    let program = object::xdp(ebpf, PROGRAM)?.fd()?.as_fd();
    link::create(program, interface.ifindex, BPF_XDP, mode.flags())
        .map_err(|error| failure(interface, &error))
}

fn failure(interface: &Interface, error: &io::Error) -> Error {
    let interface = interface.name.clone();
    let reason = match error.raw_os_error() {
        Some(ENODEV) => return Error::Gone { interface },
        Some(EBUSY | EEXIST) => "another XDP program is there".to_owned(),
        Some(EOPNOTSUPP) => "it can't run XDP in this mode".to_owned(),
        _ => error.to_string(),
    };
    Error::Witness { interface, reason }
}
