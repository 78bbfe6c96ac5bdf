//! tcx links (Linux 6.6).

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use super::{link, pins::Pins};

const BPF_TCX_INGRESS: u32 = 46;
const BPF_TCX_EGRESS: u32 = 47;
/// Before the program that is named; before all of them, as none is.
const BPF_F_BEFORE: u32 = 1 << 3;

/// Makes these programs, for what comes in and for what goes out, the first of an interface, until the
/// descriptors are closed; with pins, until the links are detached.
pub(super) fn attach_first(
    [ingress, egress]: [BorrowedFd<'_>; 2],
    ifindex: u32,
    pins: Option<&Pins>,
) -> io::Result<[OwnedFd; 2]> {
    if let Some(links) = pins.and_then(|pins| pins.links(ifindex)) {
        for (link, program) in links.iter().zip([ingress, egress]) {
            link::update(link.as_fd(), program)?;
        }
        return Ok(links);
    }
    let links = [
        link::create(ingress, ifindex, BPF_TCX_INGRESS, BPF_F_BEFORE)?,
        link::create(egress, ifindex, BPF_TCX_EGRESS, BPF_F_BEFORE)?,
    ];
    if let Some(pins) = pins {
        pins.pin(ifindex, links.each_ref().map(|link| link.as_fd()))?;
    }
    Ok(links)
}
