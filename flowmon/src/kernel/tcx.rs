//! tcx links (Linux 6.6).

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
};

use aya::programs::TcAttachType;

use super::link;

const BPF_TCX_INGRESS: u32 = 46;
const BPF_TCX_EGRESS: u32 = 47;
/// Before the program that is named; before all of them, as none is.
const BPF_F_BEFORE: u32 = 1 << 3;

/// Makes `program` the first of an interface's direction, until the descriptor is closed.
pub(super) fn attach_first(
    program: BorrowedFd<'_>,
    ifindex: u32,
    kind: TcAttachType,
) -> io::Result<OwnedFd> {
    let attach_type = match kind {
        TcAttachType::Ingress => BPF_TCX_INGRESS,
        TcAttachType::Egress => BPF_TCX_EGRESS,
        TcAttachType::Custom(_) => return Err(io::ErrorKind::InvalidInput.into()),
    };
    link::create(program, ifindex, attach_type, BPF_F_BEFORE)
}
